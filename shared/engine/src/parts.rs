//! What services are made of: the base, and those that others ask.

use crate::{
    Base, Caches, Config, InForce, Mandates, Meters, Names, Plans, Ports, Updates, Values, Vault,
    Verdicts, Views, Waker,
};
use std::sync::Arc;

/// In the order in which they know each other.
pub(crate) struct Parts {
    pub(crate) base: Arc<Base>,
    pub(crate) in_force: Arc<InForce>,
    pub(crate) names: Arc<Names>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) updates: Arc<Updates>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) mandates: Arc<Mandates>,
    pub(crate) views: Arc<Views>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(crate) values: Arc<Values>,
    pub(crate) plans: Arc<Plans>,
}

impl Parts {
    pub(crate) fn new(ports: Ports, config: Config) -> Self {
        let base = Arc::new(Base::new(ports, config));
        let in_force = Arc::new(InForce { base: base.clone(), caches: Caches::default() });
        let names = Arc::new(Names { base: base.clone() });
        let vault = Arc::new(Vault { base: base.clone(), in_force: in_force.clone() });
        let waker = Arc::new(Waker { base: base.clone() });
        let updates = Arc::new(Updates { base: base.clone(), waker: waker.clone() });
        let meters = Arc::new(Meters { base: base.clone() });
        let mandates = Arc::new(Mandates {
            base: base.clone(),
            in_force: in_force.clone(),
            names: names.clone(),
            meters: meters.clone(),
        });
        let views = Arc::new(Views::new(base.clone(), in_force.clone()));
        let verdicts = Arc::new(Verdicts {
            base: base.clone(),
            in_force: in_force.clone(),
            meters: meters.clone(),
            mandates: mandates.clone(),
            updates: updates.clone(),
            views: views.clone(),
        });
        let values = Arc::new(Values {
            base: base.clone(),
            in_force: in_force.clone(),
            vault: vault.clone(),
        });
        let plans = Arc::new(Plans {
            base: base.clone(),
            vault: vault.clone(),
            in_force: in_force.clone(),
            updates: updates.clone(),
        });
        Self {
            base,
            in_force,
            names,
            vault,
            waker,
            updates,
            meters,
            mandates,
            views,
            verdicts,
            values,
            plans,
        }
    }
}
