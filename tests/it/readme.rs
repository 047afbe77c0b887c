//! What the README and the pages in `docs/` show: the commands of the remote and of CI run, the settings and inputs
//! exist, the links between pages lead somewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use yaml_rust2::YamlLoader;

use crate::support::action::{action, pairs};
use crate::support::s3_server::{BUCKET, S3Server, WRITER};
use crate::support::{KACHE, Project, Run, real_cargo};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The most lines that the README may have.
const README_LINES: usize = 120;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fenced blocks of one language on a page, which is named relative to the repository.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let text = read(&Path::new(ROOT).join(page));
    text.split(&fence).skip(1).map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

/// The one block of a language on a page.
fn block(page: &str, language: &str) -> String {
    let [block] = blocks(page, language).try_into().expect("one block");
    block
}

/// Runs a shell block with the bucket and the endpoint of this server.
fn run(project: &Project, server: &S3Server, script: &str) -> Run {
    let bin = project.sandbox_dir().join("readme-bin");
    if !bin.exists() {
        fs::create_dir_all(&bin).unwrap();
        symlink(KACHE, bin.join("kache")).unwrap();
        symlink(real_cargo(), bin.join("cargo")).unwrap();
    }
    let script = script.replace("my-bucket", BUCKET).replace("https://s3.example.com", &server.endpoint());
    let mut command = project.command("bash");
    command.args(["-euxo", "pipefail", "-c"]).arg(script);
    let path = format!("{}:{}", bin.display(), project.env_value("PATH").unwrap().to_str().unwrap());
    // The credentials come by the SDK's own chain here.
    command.env("PATH", path).env("AWS_ACCESS_KEY_ID", WRITER.0).env("AWS_SECRET_ACCESS_KEY", WRITER.1);
    command.env("AWS_REGION", "us-east-1");
    project.finish(command).must_succeed()
}

#[test]
fn every_command_of_the_remote_runs() {
    let server = S3Server::start();
    let one = Project::app_over("pub fn value() -> u32 { 7 }\n");
    let two = one.other_machine("two");
    let [push, pull, agent, admin] = blocks("docs/sharing.md", "sh").try_into().expect("four blocks");
    let exports: Vec<&str> = push.lines().filter(|line| line.starts_with("export ")).collect();
    let with_exports = |block: &str| format!("{}\n{block}", exports.join("\n"));
    run(&one, &server, &push).misses(&["dep", "app"]);
    assert!(!server.objects_with("/manifests/").is_empty());
    run(&two, &server, &with_exports(&pull)).hits(&["dep", "app"]);
    run(&one, &server, &with_exports(&agent));
    let said = run(&one, &server, &with_exports(&admin));
    assert!(said.stdout.contains("deleted 0 objects") && said.stdout.contains("s3:PutObject"), "{said:?}");
    run(&one, &server, &with_exports(&block("docs/trust.md", "sh")));
    let said = run(&two, &server, &with_exports(&block("docs/ci.md", "sh")));
    assert!(said.stdout.contains("The last 1h"), "{said:?}");
    run(&two, &server, &with_exports(&agent));
}

#[test]
fn the_settings_in_the_examples_are_known() {
    let server = S3Server::start();
    let mut project = Project::new();
    project.set("KACHE_S3_ACCESS_KEY", WRITER.0).set("KACHE_S3_SECRET_KEY", WRITER.1);
    let mut output = |block: &str, args: &[&str]| {
        let config = project.path("config.toml");
        let toml = block.replace("my-bucket", BUCKET).replace("https://s3.example.com", &server.endpoint());
        fs::write(&config, toml).unwrap();
        project.set("KACHE_CONFIG", &config);
        project.kache(args).must_succeed().stdout
    };
    let [plain, dir, mirror, both] = blocks("docs/sharing.md", "toml").try_into().expect("four blocks");
    let mirror = output(&mirror, &["doctor"]);
    assert!(mirror.contains("https://cache.example.com/kache"), "{mirror}");
    let both = output(&both, &["doctor"]);
    let writing: Vec<&str> = both.lines().filter(|line| line.contains(" writing ")).collect();
    assert!(writing.len() == 2 && writing[0].contains("no: ") && writing[1].contains("yes: "), "{both}");
    let plain = output(&plain, &["doctor", "--remote"]);
    assert!(plain.contains(BUCKET), "{plain}");
    let shared = tempfile::tempdir().unwrap();
    let shared = shared.path().to_str().unwrap();
    let dir = output(&dir.replace("/mnt/kache", shared), &["doctor", "--remote"]);
    assert!(dir.contains(shared) && !dir.contains(BUCKET), "{dir}");
    let signed = output(&block("docs/trust.md", "toml"), &["doctor", "--remote"]);
    assert!(signed.contains(BUCKET) && signed.contains("signatures of 1 key"), "{signed}");
    let [sizes, layers] = blocks("docs/settings.md", "toml").try_into().expect("two blocks");
    let stats = output(&sizes, &["stats"]);
    assert!(stats.contains("of 50.0 GiB"), "the limit of the example: {stats}");
    let both = output(&layers, &["doctor", "--remote"]);
    let writing: Vec<&str> = both.lines().filter(|line| line.contains(" writing ")).collect();
    assert!(writing.len() == 2 && writing[0].contains("no: ") && writing[1].contains("yes: "), "{both}");
}

#[test]
fn the_declared_inputs_in_the_example_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".kache.toml"), block("docs/declared-inputs.md", "toml")).unwrap();
    let declared = kache::config::Project::find(dir.path()).unwrap().expect("the file that was just written");
    let sections: Vec<&str> = declared.inputs.keys().map(String::as_str).collect();
    assert_eq!(sections, ["*", "my-crate"]);
}

#[test]
fn the_workflow_uses_inputs_that_exist() {
    let yaml = &blocks("docs/ci.md", "yaml")[0];
    let workflow = &YamlLoader::load_from_str(yaml).expect("YAML")[0];
    let mut used = 0;
    for step in workflow["jobs"]["test"]["steps"].as_vec().expect("steps") {
        let Some(rest) = step["uses"].as_str().and_then(|uses| uses.strip_prefix("OWNER/kache")) else { continue };
        let known = pairs(&action(rest.trim_end_matches("@REF").trim_start_matches('/'))["inputs"])
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>();
        for (name, _) in pairs(&step["with"]) {
            assert!(known.contains(&name), "{rest} does not have the input {name}");
        }
        used += 1;
    }
    assert_eq!(used, 2);
}

#[test]
fn the_readme_is_short_and_names_the_test_command() {
    let lines = read(&Path::new(ROOT).join("README.md")).lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines: move something to docs/");
    let command = "cargo test --locked";
    assert!(blocks("README.md", "sh").iter().any(|block| block == command));
    assert!(read(&Path::new(ROOT).join(".ci/run")).contains(command));
}

/// The pages that people read, by their paths.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let docs = fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("an entry of docs").path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let others = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benches/README.md"].map(|name| root.join(name));
    others.into_iter().chain(docs).collect()
}

/// The lines of a page that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The targets of the inline links of a page.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    // Brackets in code are not links.
    let text = text.split('`').step_by(2).collect::<String>();
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// The anchors that GitHub gives to the headings of a page.
fn anchors(text: &str) -> Vec<String> {
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    };
    prose(text).filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().expect("a directory").join(file) };
            let has_anchor = || anchors(&read(&target)).iter().any(|known| known == anchor);
            if !target.exists() || !(anchor.is_empty() || has_anchor()) {
                broken.push(format!("{}: {link}", page.display()));
            }
            checked += 1;
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(checked > 0, "the pages link to each other");
}
