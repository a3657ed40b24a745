//! Every scenario on the embedded server, each a test of its own.

use countersign_it::{House, every_scenario, scenarios};

macro_rules! alone {
    ($($module:ident::$name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                scenarios::$module::$name(&House::start().await).await;
            }
        )*
    };
}

every_scenario!(alone);
