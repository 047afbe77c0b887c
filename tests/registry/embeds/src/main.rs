#[derive(rust_embed::Embed)]
#[folder = "assets"]
struct Assets;

fn main() {
    let text = |name: &str| String::from_utf8(Assets::get(name).unwrap().data.into_owned()).unwrap();
    let all: Vec<String> = Assets::iter().map(|name| format!("{name}={}", text(&name))).collect();
    println!("{}", all.join(","));
}
