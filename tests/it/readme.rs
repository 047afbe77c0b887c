//! What the README shows of the remote and of CI: every command runs, every setting and input exists.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use yaml_rust2::YamlLoader;

use crate::support::action::{action, pairs};
use crate::support::s3_server::{BUCKET, S3Server, WRITER};
use crate::support::{KACHE, Project, Run, real_cargo};

/// The fenced blocks of one language between two headings.
fn blocks(language: &str, from: &str, to: &str) -> Vec<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("\n## {from}\n")).expect("the heading");
    let (section, _) = rest.split_once(&format!("\n## {to}\n")).expect("the next heading");
    let fence = format!("\n```{language}\n");
    section.split(&fence).skip(1).map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}

fn sharing(language: &str) -> Vec<String> {
    blocks(language, "Sharing between machines", "In CI")
}

/// A shell block, with the README's names replaced by this server's.
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
    let [push, pull, agent, keys] = sharing("sh").try_into().expect("four blocks");
    let exports: Vec<&str> = push.lines().filter(|line| line.starts_with("export ")).collect();
    let with_exports = |block: &str| format!("{}\n{block}", exports.join("\n"));
    run(&one, &server, &push).misses(&["dep", "app"]);
    assert!(!server.objects_with("/packs/").is_empty());
    run(&two, &server, &with_exports(&pull)).hits(&["dep", "app"]);
    run(&one, &server, &with_exports(&agent));
    run(&one, &server, &with_exports(&keys));
    let [ci] = blocks("sh", "In CI", "How it stays correct").try_into().expect("one block");
    let said = run(&two, &server, &with_exports(&ci));
    assert!(said.stdout.contains("The last 1h"), "{said:?}");
    run(&two, &server, &with_exports(&agent));
}

#[test]
fn the_settings_in_the_example_are_known() {
    let server = S3Server::start();
    let mut project = Project::new();
    let [toml] = sharing("toml").try_into().expect("one block");
    let config = project.path("config.toml");
    fs::write(&config, toml.replace("my-bucket", BUCKET).replace("https://s3.example.com", &server.endpoint()))
        .unwrap();
    project.set("KACHE_CONFIG", &config).set("KACHE_S3_ACCESS_KEY", WRITER.0).set("KACHE_S3_SECRET_KEY", WRITER.1);
    let said = project.kache(&["doctor", "--remote"]).must_succeed().stdout;
    assert!(said.contains(BUCKET) && said.contains("signatures of 1 key"), "{said}");
}

#[test]
fn the_workflow_uses_inputs_that_exist() {
    let yaml = &blocks("yaml", "In CI", "How it stays correct")[0];
    let workflow = &YamlLoader::load_from_str(yaml).expect("YAML")[0];
    let mut used = 0;
    for step in workflow["jobs"]["test"]["steps"].as_vec().expect("steps") {
        let Some(rest) = step["uses"].as_str().and_then(|uses| uses.strip_prefix("OWNER/kache")) else { continue };
        let known = pairs(&action(rest.trim_end_matches("@REF").trim_start_matches('/'))["inputs"])
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>();
        for (name, _) in pairs(&step["with"]) {
            assert!(known.contains(&name), "{name} is no input of {rest}");
        }
        used += 1;
    }
    assert_eq!(used, 2);
}
