//! What people are asked, what they gave, and what it covers.

use super::*;

impl Execution {
    /// When the oldest undecided approval was requested.
    pub fn asked_since(&self) -> Option<Timestamp> {
        let open =
            self.approvals.iter().filter(|approval| approval.state == ApprovalStatus::Requested);
        open.map(|approval| approval.requested_at).min()
    }

    /// The call that a step asks people about, if it asks with its actual input.
    pub fn asked(&self, step: &StepId) -> Option<&Asked> {
        let record = self.step(step)?;
        record.asked.as_ref().filter(|_| !self.asked_before(record))
    }

    /// Whether a step asked under a policy set that is not in force any more.
    pub(super) fn asked_before(&self, step: &Step) -> bool {
        let policy = self.ruling.as_ref().map(|ruling| &ruling.policy_digest);
        step.asked.as_ref().is_some_and(|asked| Some(&asked.policy) != policy)
    }

    /// Digest of what people are shown of the plan, or of one step. INVARIANT (seen-is-signed).
    pub fn view_digest(&self, step: Option<&StepId>) -> Option<&Digest> {
        let own = step.and_then(|step| self.asked(step)).map(|asked| &asked.about.view);
        own.or_else(|| self.ruling.as_ref()?.view.as_ref())
    }

    /// Whom an approval of the plan, or of one step, asks for. Of the plan it is the greatest count
    /// of each group over the steps that need people.
    pub fn requirement(&self, step: Option<&StepId>) -> Vec<Requirement> {
        let Some(step) = step else {
            return self.ruling.as_ref().map_or_else(ballot::anybody, VerdictSummary::requirement);
        };
        if let Some(asked) = self.asked(step) {
            return asked.about.requirement.clone();
        }
        let ruled = self.ruling.as_ref().zip(self.index_of(step));
        ruled.map_or_else(ballot::anybody, |(ruling, index)| ruling.requirement_of(index))
    }

    /// What an approval of the plan, or of one step, binds by digest: plan, policy, skills, what
    /// people are shown, and the actual input of a step that asked with it. INVARIANT
    /// (approval-binds-digest).
    pub fn binding(&self, step: Option<&StepId>) -> Option<Digest> {
        let (plan, ruling) = (self.plan.as_ref()?, self.ruling.as_ref()?);
        let mut parts: Vec<&[u8]> = vec![
            b"countersign/approval/2",
            self.id.as_str().as_bytes(),
            plan.digest().as_str().as_bytes(),
            ruling.policy_digest.as_str().as_bytes(),
            self.view_digest(step)?.as_str().as_bytes(),
        ];
        for skill in &plan.plan().skills {
            parts.extend([
                skill.key.as_bytes(),
                skill.version.as_bytes(),
                skill.manifest_digest.as_str().as_bytes(),
            ]);
        }
        match step {
            None => parts.push(b"plan"),
            Some(id) => {
                parts.extend([b"step".as_slice(), id.as_str().as_bytes()]);
                // A changed input voids what was approved for the previous input.
                if let Some(asked) = self.asked(id) {
                    parts.extend([
                        asked.purpose.as_str().as_bytes(),
                        asked.about.input.as_str().as_bytes(),
                    ]);
                }
            }
        }
        Some(canonical::digest_parts(&parts))
    }

    /// The idempotency key of a step: sha256(executionId ‖ planDigest ‖ stepId), length-prefixed.
    /// Undoing and probing have keys of their own. The plan is the one that was compiled first: a
    /// call that was made before people changed other steps keeps its key.
    pub fn idempotency_key(&self, step: &StepId, suffix: &str) -> Option<Digest> {
        let edits = self.plan_facts.as_ref().and_then(|facts| facts.edits.as_ref());
        let plan = match edits {
            Some(edits) => &edits.first,
            None => self.plan.as_ref()?.digest(),
        };
        let mut parts =
            vec![self.id.as_str().as_bytes(), plan.as_str().as_bytes(), step.as_str().as_bytes()];
        if !suffix.is_empty() {
            parts.push(suffix.as_bytes());
        }
        Some(canonical::digest_parts(&parts))
    }

    /// What the claims of one skill's steps reserved, by its place in the plan.
    pub fn spent_of(&self, skill: usize) -> Radius {
        let own =
            |index: usize| self.planned(index).is_some_and(|planned| planned.call.skill == skill);
        let reservations = self.steps.iter().enumerate().filter(|(index, _)| own(*index));
        reservations
            .flat_map(|(_, step)| step.reservations())
            .fold(Radius::default(), |total, reservation| {
                crate::plan::sum(&total, &reservation.spend)
            })
    }

    /// The first limit of the plan's budget or of the skill's budget that a claim with `spend`
    /// would exceed, if any.
    pub fn over_budget(
        &self,
        planned: &contracts::plan::PlanStep,
        spend: &Radius,
    ) -> Option<String> {
        let plan = self.plan.as_ref()?.plan();
        let total = crate::plan::sum(&self.spent, spend);
        let skill = plan.skills.get(planned.call.skill)?;
        crate::plan::exceeded(&total, plan.budget.as_ref()).or_else(|| {
            let own = crate::plan::sum(&self.spent_of(planned.call.skill), spend);
            let over = crate::plan::exceeded(&own, skill.budget.as_ref())?;
            Some(format!("{over} (the budget of `{}`)", skill.key))
        })
    }

    /// Whether a step may run only with an approval.
    pub fn needs_approval(&self, step: &Step) -> bool {
        self.foreseen(&step.id) || step.escalated
    }

    /// Whether it was known before the run that a step needs people.
    pub fn foreseen(&self, id: &StepId) -> bool {
        let assist_mode = self.run.as_ref().is_some_and(|run| run.mode == RunMode::Assist);
        let assists = |ruling: &VerdictSummary| {
            self.index_of(id).is_none_or(|index| ruling.assist.contains(&index))
        };
        assist_mode || self.ruling.as_ref().is_none_or(assists)
    }

    /// Approvals that are asked for, or were given, about what does not hold any more; and requests
    /// of steps that an approval of the plan covers.
    pub(super) fn stale_approvals(&self) -> impl Iterator<Item = &Approval> {
        self.approvals.iter().filter(|approval| match approval.state {
            ApprovalStatus::Requested => !self.binds(approval) || self.is_covered(approval),
            ApprovalStatus::Granted => !self.binds(approval),
            ApprovalStatus::Rejected | ApprovalStatus::Expired | ApprovalStatus::Voided => false,
        })
    }

    /// Whether people are asked about what does not hold any more, or is decided.
    pub fn asks_in_vain(&self) -> bool {
        self.stale_approvals().any(|approval| approval.state == ApprovalStatus::Requested)
    }

    fn binds(&self, approval: &Approval) -> bool {
        self.binding(approval.step.as_ref()).as_ref() == Some(&approval.binding)
    }

    // Whether a request asks about one step that the plan's approval covers, or let begin.
    fn is_covered(&self, request: &Approval) -> bool {
        let step = request.step.as_ref().and_then(|step| self.step(step));
        step.is_some_and(|step| {
            let begun = step.approval.is_some() && step.asked.is_none();
            begun || self.grant_for(&step.id).is_some()
        })
    }

    /// The approval that a claim of this step would consume: of the call that people are asked
    /// about, else of its own.
    pub fn grant_for(&self, id: &StepId) -> Option<&Approval> {
        let asked = self.step(id).and_then(|step| step.asked.as_ref());
        match asked {
            Some(asked) => self.grant_for_call(id, asked.purpose, &asked.about.input),
            None => self.grant(id, Purpose::Run, None),
        }
    }

    /// The approval that covers a call with this input. INVARIANT (seen-is-signed): an approval of
    /// the plan covers no amount, currency, recipient or target that was unknown when it was given;
    /// one of a step covers the very input that was asked about.
    pub fn grant_for_call(
        &self,
        id: &StepId,
        purpose: Purpose,
        input: &Digest,
    ) -> Option<&Approval> {
        self.grant(id, purpose, Some(input))
    }

    /// Whether an approval that would cover the call is asked for already.
    pub(crate) fn asked_for(&self, id: &StepId, purpose: Purpose) -> bool {
        let planned = self.index_of(id).and_then(|index| self.planned(index));
        let known = planned
            .and_then(|planned| crate::plan::call_of(planned, purpose))
            .is_some_and(|call| call.unknown.is_empty());
        self.approvals.iter().filter(|approval| approval.state == ApprovalStatus::Requested).any(
            |approval| match &approval.step {
                None => {
                    known
                        && purpose.is_run()
                        && self.step(id).is_some_and(|step| step.asked.is_none())
                }
                Some(step) => step == id,
            },
        )
    }

    pub(super) fn grant(
        &self,
        id: &StepId,
        purpose: Purpose,
        input: Option<&Digest>,
    ) -> Option<&Approval> {
        let (index, record) = (self.index_of(id)?, self.step(id)?);
        let known = || {
            let call =
                self.planned(index).and_then(|planned| crate::plan::call_of(planned, purpose));
            call.is_some_and(|call| call.unknown.is_empty())
        };
        let covers = |approval: &Approval| match (&approval.step, &record.asked) {
            // What was asked about with its input is not in an approval of the plan.
            (None, Some(_)) => false,
            (None, None) => known(),
            (Some(step), Some(asked)) => {
                step == id
                    && asked.purpose == purpose
                    && input.is_none_or(|input| asked.about.input == *input)
            }
            (Some(step), None) => step == id && purpose == Purpose::Run && known(),
        };
        self.approvals.iter().find(|approval| {
            approval.state == ApprovalStatus::Granted
                && !approval.consumed.contains(id)
                && covers(approval)
                && self.binding(approval.step.as_ref()).as_ref() == Some(&approval.binding)
        })
    }

    /// What a decision is about that names no step: the plan; or, where nothing is asked about the
    /// plan and one step asks with its input, that step. The binding says which.
    pub fn decided_on<'s>(&'s self, step: Option<&'s StepId>) -> Option<&'s StepId> {
        let asked =
            || self.approvals.iter().filter(|approval| approval.state == ApprovalStatus::Requested);
        match (step, asked().next(), asked().nth(1)) {
            (None, Some(only), None) => only.step.as_ref(),
            (step, _, _) => step,
        }
    }

    /// Whether an approval of the plan would cover any step that still needs one. Where all of them
    /// wait for values that decide, each asks when they are there, and nobody is asked for what
    /// covers nothing.
    pub(crate) fn plan_approvable(&self) -> bool {
        self.steps.iter().enumerate().any(|(index, step)| {
            let open = step.state.unstarted() && step.approval.is_none() && step.asked.is_none();
            let known = self.planned(index).is_some_and(|planned| planned.unknown.is_empty());
            open && known && self.needs_approval(step) && self.grant_for(&step.id).is_none()
        })
    }

    /// Steps that wait for approval or will, in plan order.
    pub fn unapproved(&self) -> Vec<StepId> {
        self.steps
            .iter()
            .filter(|step| {
                step.state.unstarted() && step.approval.is_none() && self.needs_approval(step)
            })
            .filter(|step| self.grant_for(&step.id).is_none())
            .map(|step| step.id.clone())
            .collect()
    }
}
