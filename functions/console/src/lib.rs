//! Console: pages for people who signed in. They show what the services answer to the session's
//! caller, and nothing else; what their forms do stands at the functions whose operations they are.

mod budgets;
mod execution;
mod executions;
mod freezes;
mod inbox;
mod live;
mod log;
mod mandates;
mod overview;
mod page;
mod people;
mod policies;
mod several;
mod sign_in;
mod simulator;
mod skills;
mod subscriptions;

use contracts::{Code, Problem, endpoint::named};
use edge::{Routes, page::Reply};

/// Its routes.
pub fn routes() -> Routes {
    Routes::new()
        .page(const { named("console.asset") }, |_, visit| async move {
            let name: String = visit.named("file")?;
            let found = pages::asset(&name);
            let missing = || Problem::new(Code::NotFound, "there is no such file");
            found.map(Reply::asset).ok_or_else(missing)
        })
        .page(const { named("console.sign-in") }, sign_in::show)
        .page(const { named("console.sign-in.return") }, sign_in::back)
        .form(const { named("console.sign-out") }, sign_in::out)
        .page(const { named("console.live") }, live::tell)
        .page(const { named("console.overview") }, overview::show)
        .page(const { named("console.inbox") }, inbox::show)
        .page(const { named("console.several") }, several::show)
        .page(const { named("console.executions") }, executions::show)
        .page(const { named("console.execution") }, execution::show)
        .page(const { named("console.skills") }, skills::show)
        .page(const { named("console.policies") }, policies::show)
        .page(const { named("console.simulator") }, simulator::show)
        .form(const { named("console.simulate") }, simulator::simulate)
        .form(const { named("console.backtest") }, simulator::backtest)
        .page(const { named("console.budgets") }, budgets::show)
        .page(const { named("console.freezes") }, freezes::show)
        .page(const { named("console.people") }, people::show)
        .page(const { named("console.mandates") }, mandates::show)
        .page(const { named("console.subscriptions") }, subscriptions::show)
        .page(const { named("console.log") }, log::show)
}
