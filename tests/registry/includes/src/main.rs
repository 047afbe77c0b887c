static ASSETS: include_dir::Dir<'_> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/assets");

fn main() {
    let glob = ASSETS.dirs().flat_map(|dir| dir.files()).chain(ASSETS.files());
    let all: Vec<String> =
        glob.map(|file| format!("{}={}", file.path().display(), file.contents_utf8().unwrap())).collect();
    println!("{}", all.join(","));
}
