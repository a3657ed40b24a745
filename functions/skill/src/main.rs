//! The skill function on AWS.

fn main() -> Result<(), aws::Error> {
    aws::http(countersign_fn_skill::routes())
}
