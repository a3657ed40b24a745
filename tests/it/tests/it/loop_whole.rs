//! Every scenario on the embedded server, each a test of its own.

use countersign_it::{TestServer, every_scenario, scenarios};

macro_rules! alone {
    ($($module:ident::$name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                scenarios::$module::$name(&TestServer::start().await).await;
            }
        )*
    };
}

every_scenario!(alone);
