//! What changes of verdicts affect: how many executions, steps and actors, and how much of what.

use contracts::{
    ExecutionId, Open, StepId,
    event::ActorKind,
    plan::RadiusKind,
    query::{Affected, AffectedByChange, BacktestChange, BacktestImpact},
    verdict::Verdict,
    view::Touched,
};
use cs_core::view::{money, uncounted};
use std::collections::{BTreeMap, BTreeSet};

/// What is affected by changes, together and by kind.
pub fn impact(changes: &[BacktestChange]) -> BacktestImpact {
    let own: BTreeSet<_> =
        changes.iter().filter(|change| change.purpose.is_none()).map(step_of).collect();
    let (mut all, mut kinds) = (Sum::default(), BTreeMap::<_, (_, _, Sum<'_>)>::new());
    for change in changes {
        // What undoes a step, or asks about it, moves nothing beside what the step moves.
        let counts = change.purpose.is_none() || !own.contains(&step_of(change));
        all.add(change, counts);
        let kind = kinds.entry((order(&change.would), order(&change.was)));
        let (_, _, sum) =
            kind.or_insert_with(|| (change.was.clone(), change.would.clone(), Sum::default()));
        sum.add(change, counts);
    }
    let by_change = kinds.into_values().rev();
    let by_change = by_change.map(|(was, would, sum)| {
        let affected = sum.into_affected();
        AffectedByChange { was, would, affected }
    });
    BacktestImpact { by_change: by_change.collect(), all: all.into_affected() }
}

type StepOf<'c> = (&'c ExecutionId, &'c StepId);

fn step_of(change: &BacktestChange) -> StepOf<'_> {
    (&change.execution_id, &change.step_id)
}

// A verdict of a newer version comes last.
fn order(verdict: &Open<Verdict>) -> (Option<Verdict>, String) {
    (verdict.known().copied(), verdict.to_string())
}

/// Changes as they are added up.
#[derive(Default)]
struct Sum<'c> {
    executions: BTreeSet<&'c ExecutionId>,
    steps: BTreeSet<StepOf<'c>>,
    actors: BTreeSet<(Option<ActorKind>, &'c str)>,
    writes: u64,
    recipients: u64,
    minor: BTreeMap<String, u64>,
    unmeasured: BTreeSet<String>,
    data_classes: BTreeSet<String>,
}

impl<'c> Sum<'c> {
    fn add(&mut self, change: &'c BacktestChange, counts: bool) {
        self.executions.insert(&change.execution_id);
        self.steps.insert(step_of(change));
        self.actors.extend(change.actor_id.as_deref().map(|id| (change.actor_kind, id)));
        if let Some(touched) = change.touched.as_ref().filter(|_| counts) {
            self.add_touched(touched);
        }
    }

    // INVARIANT (unmeasured-is-not-small): a sum that is too large to count says so.
    fn add_touched(&mut self, touched: &Touched) {
        self.writes = self.writes.saturating_add(touched.writes);
        self.unmeasured.extend(touched.unmeasured.iter().cloned());
        self.data_classes.extend(touched.data_classes.iter().cloned());
        match self.recipients.checked_add(touched.recipients) {
            Some(sum) => self.recipients = sum,
            None => {
                self.unmeasured.insert(uncounted(RadiusKind::Recipients));
            }
        }
        for amount in &touched.money {
            let sum = self.minor.entry(amount.currency.clone()).or_default();
            match sum.checked_add(amount.minor) {
                Some(both) => *sum = both,
                None => {
                    *sum = u64::MAX;
                    self.unmeasured.insert(uncounted(RadiusKind::Money));
                }
            }
        }
    }

    fn into_affected(self) -> Affected {
        Affected {
            executions: self.executions.len() as u64,
            steps: self.steps.len() as u64,
            actors: self.actors.len() as u64,
            touched: Touched {
                writes: self.writes,
                money: money(&self.minor),
                recipients: self.recipients,
                unmeasured: self.unmeasured.into_iter().collect(),
                data_classes: self.data_classes.into_iter().collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{event::Purpose, view::ViewMoney};

    fn change(execution: u32, step: &str, purpose: Option<Purpose>, minor: u64) -> BacktestChange {
        let eur = ViewMoney { currency: "EUR".into(), minor, amount: None };
        BacktestChange {
            execution_id: format!("exe_{execution:032}").parse().unwrap(),
            step_id: step.parse().unwrap(),
            was: Verdict::Autonomous.into(),
            would: Verdict::Assist.into(),
            reasons: Vec::new(),
            purpose: purpose.map(Into::into),
            operation: Some("payments/refund.create".into()),
            actor_id: Some(format!("agent-{}", execution % 2)),
            actor_kind: Some(ActorKind::Agent),
            touched: Some(Touched { writes: 1, money: vec![eur], ..Touched::default() }),
        }
    }

    #[test]
    fn what_undoes_a_step_that_counts_itself_moves_nothing_more() {
        let undoes = Some(Purpose::Compensate);
        let changes = [
            change(1, "a", None, 500),
            change(1, "a", undoes, 500),
            change(2, "a", undoes, 70),
            BacktestChange { would: Verdict::Blocked.into(), ..change(3, "b", None, 1) },
        ];
        let impact = impact(&changes);
        let of = |affected: &Affected| {
            let minor = affected.touched.money.iter().map(|money| money.minor).sum::<u64>();
            (affected.executions, affected.steps, affected.actors, minor)
        };
        assert_eq!(of(&impact.all), (3, 3, 2, 571));
        assert_eq!(impact.all.touched.money[0].amount.as_deref(), Some("5.71"));
        let kinds: Vec<_> = impact
            .by_change
            .iter()
            .map(|kind| (kind.would.to_string(), of(&kind.affected)))
            .collect();
        assert_eq!(
            kinds,
            [("blocked".into(), (1, 1, 1, 1)), ("assist".to_owned(), (2, 2, 2, 570))]
        );
    }

    #[test]
    fn attack_a_sum_that_overflows_is_not_small() {
        let changes = [change(1, "a", None, u64::MAX), change(2, "a", None, 2)];
        let touched = impact(&changes).all.touched;
        assert_eq!(touched.money[0].minor, u64::MAX);
        assert_eq!(touched.unmeasured, ["money, which cannot be counted"]);
    }

    #[test]
    fn nothing_changed_affects_nothing() {
        assert_eq!(impact(&[]), BacktestImpact::default());
    }
}
