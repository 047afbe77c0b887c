use askama::Template;

#[derive(Template)]
#[template(path = "hello.txt")]
struct Hello<'a> {
    name: &'a str,
}

fn main() {
    println!("{}", Hello { name: "you" }.render().unwrap());
}
