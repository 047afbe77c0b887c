use sqlx::postgres::Postgres;
use sqlx::query::QueryScalar;

/// What a query gives, by its type: there is no database to ask.
fn gives<O, A>(_: &QueryScalar<'_, Postgres, O, A>) -> &'static str {
    std::any::type_name::<O>()
}

fn main() {
    let migrator = sqlx::migrate!("./migrations");
    let steps: Vec<&str> = migrator.iter().map(|step| &*step.description).collect();
    println!("{} after {}", gives(&sqlx::query_scalar!("select 1 as one")), steps.join(","));
}
