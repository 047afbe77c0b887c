use pest::Parser;

#[derive(pest_derive::Parser)]
#[grammar = "list.pest"]
struct List;

fn main() {
    println!("{}", List::parse(Rule::list, "a,b;c").unwrap().as_str());
}
