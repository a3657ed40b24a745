//! The console function on AWS.

fn main() -> Result<(), aws::Error> {
    aws::http(countersign_fn_console::routes())
}
