//! `dynamodb-local PORT`: DynamoDB on 127.0.0.1, in memory, for the LocalStack of the tests.

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).ok_or("dynamodb-local PORT")?.parse()?;
    dynoxide::server::start("127.0.0.1", port, dynoxide::Database::memory()?).await?;
    Ok(())
}
