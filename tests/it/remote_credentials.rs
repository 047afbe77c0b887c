//! Which credentials kache uses, that it asks EC2's metadata service only as a last resort, and that it never shows a
//! secret.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kache::config::{Env, S3Settings, Secret};
use kache::remote::{Bucket, RemoteError};

use crate::support::remote::{ProxiedServer, run, settings, tuning};
use crate::support::s3_server::WRITER;

/// A metadata service that gives credentials and counts the requests.
struct Metadata {
    endpoint: String,
    asked: Arc<AtomicUsize>,
}

impl Metadata {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = vec![0; 4096];
                let n = stream.read(&mut head).unwrap_or(0);
                count.fetch_add(1, Ordering::Relaxed);
                let head = String::from_utf8_lossy(&head[..n]).into_owned();
                let body = match head {
                    head if head.contains("/latest/api/token") => "token".to_owned(),
                    head if head.contains("security-credentials/role") => format!(
                        "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"{}\",\
                         \"Token\":\"t\",\"Expiration\":\"2999-01-01T00:00:00Z\",\"LastUpdated\":\"2020-01-01T00:00:00Z\"}}",
                        WRITER.0, WRITER.1
                    ),
                    _ => "role".to_owned(),
                };
                let head = "HTTP/1.1 200 OK\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\nconnection: close";
                let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { endpoint, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Name, settings and variables of a case.
type Case<'a> = (&'a str, &'a S3Settings, &'a [(&'a str, &'a str)]);

/// Settings without keys.
fn keyless(endpoint: Option<&str>) -> S3Settings {
    S3Settings { keys: None, region: Some("us-east-1".to_owned()), ..settings(endpoint) }
}

fn connect(remote: &S3Settings, vars: &[(&str, &str)]) -> Result<Bucket, RemoteError> {
    run(Bucket::connect_tuned(remote, &Env::of(vars.iter().copied()), tuning()))
}

/// Returns whether these settings and variables give access to the server's objects.
fn reads(proxied: &ProxiedServer, remote: &S3Settings, vars: &[(&str, &str)]) -> Result<bool, RemoteError> {
    proxied.server.write("v1/a", b"hello");
    let vars = Env::of(vars.iter().copied());
    run(async {
        let bucket = Bucket::connect_tuned(remote, &vars, tuning()).await?;
        Ok(bucket.get("v1/a", 10).await?.is_some())
    })
}

fn write(path: &Path, text: &str) -> String {
    std::fs::write(path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn r08_metadata_is_asked_only_where_nothing_else_is_configured_and_no_endpoint_is_set() {
    let service = Metadata::start();
    let here = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.endpoint.as_str());
    let dir = tempfile::tempdir().unwrap();
    let token = write(&dir.path().join("token"), "token");
    let profile = write(&dir.path().join("config"), "[profile p]\nregion = eu-west-1\n");
    let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")];
    let endpoint = Some("http://127.0.0.1:9");
    let own = settings(None);
    let named = S3Settings { profile: Some("p".to_owned()), ..keyless(None) };
    let config = ("AWS_CONFIG_FILE", profile.as_str());
    // Nothing listens there: requests of the SDK to AWS itself fail at once.
    let nowhere = ("HTTPS_PROXY", "http://127.0.0.1:9");
    let cases: &[Case<'_>] = &[
        ("kache's own keys", &S3Settings { region: Some("r".to_owned()), ..own }, &[here]),
        ("the environment", &keyless(None), &[here, keys[0], keys[1]]),
        ("half the environment", &keyless(None), &[here, keys[0]]),
        ("an endpoint", &keyless(endpoint), &[here]),
        ("a profile", &named, &[here, config]),
        ("AWS's profile", &keyless(None), &[here, config, ("AWS_PROFILE", "p")]),
        ("a profile without files", &named, &[here]),
        (
            "web identity",
            &keyless(None),
            &[here, nowhere, ("AWS_WEB_IDENTITY_TOKEN_FILE", &token), ("AWS_ROLE_ARN", "arn")],
        ),
        ("a container", &keyless(None), &[here, ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:9/x")]),
        ("disabled", &keyless(None), &[here, ("AWS_EC2_METADATA_DISABLED", "true")]),
        ("no region", &S3Settings { region: None, ..keyless(None) }, &[here]),
    ];
    for (what, remote, vars) in cases {
        let _ = connect(remote, vars);
        assert_eq!(service.asked(), 0, "{what}");
    }
    connect(&keyless(None), &[here]).unwrap();
    assert!(service.asked() > 0, "where nothing else is configured it is");
}

#[test]
fn no_credentials_are_an_error_that_says_what_to_set() {
    let error = connect(&keyless(Some("http://127.0.0.1:9")), &[]).unwrap_err();
    assert!(matches!(error, RemoteError::Credentials(_)), "{error:?}");
    assert!(error.to_string().contains("KACHE_S3_ACCESS_KEY"), "{error}");
    let error = connect(&S3Settings { region: None, ..keyless(None) }, &[]).unwrap_err();
    assert!(error.to_string().contains("KACHE_S3_REGION"), "{error}");
    for (half, other) in
        [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    {
        let error = connect(&keyless(Some("http://127.0.0.1:9")), &[(half, "x")]).unwrap_err();
        assert!(error.to_string().contains(other), "{error}");
    }
}

#[test]
fn credentials_are_found_where_awss_tools_find_them() {
    let proxied = ProxiedServer::new();
    let endpoint = proxied.server.endpoint();
    let remote = keyless(Some(&endpoint));
    let dir = tempfile::tempdir().unwrap();
    let pair = format!("aws_access_key_id = {}\naws_secret_access_key = {}\n", WRITER.0, WRITER.1);
    let wrong = "aws_access_key_id = x\naws_secret_access_key = y\n";
    let file = write(&dir.path().join("credentials"), &format!("[default]\n{wrong}[right]\n{pair}"));
    let process = format!("{{\"Version\":1,\"AccessKeyId\":\"{}\",\"SecretAccessKey\":\"{}\"}}", WRITER.0, WRITER.1);
    let answer = write(&dir.path().join("answer"), &process);
    let config = write(&dir.path().join("config"), &format!("[profile made]\ncredential_process = cat {answer}\n"));
    let files = [("AWS_SHARED_CREDENTIALS_FILE", file.as_str()), ("AWS_CONFIG_FILE", config.as_str())];
    let right = [("AWS_ACCESS_KEY_ID", WRITER.0), ("AWS_SECRET_ACCESS_KEY", WRITER.1)];
    let bad = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")];
    let of = |profile: &str| S3Settings { profile: Some(profile.to_owned()), ..remote.clone() };

    assert!(reads(&proxied, &remote, &right).unwrap());
    assert!(matches!(reads(&proxied, &remote, &bad), Err(RemoteError::Denied { .. })), "the control");
    assert!(
        matches!(reads(&proxied, &remote, &files), Err(RemoteError::Denied { .. })),
        "the default profile's are wrong"
    );
    assert!(reads(&proxied, &remote, &[files[0], files[1], ("AWS_PROFILE", "right")]).unwrap());
    assert!(reads(&proxied, &of("right"), &files).unwrap());
    assert!(reads(&proxied, &of("made"), &files).unwrap(), "a process gives them");
    assert!(reads(&proxied, &of("right"), &[files[0], files[1], bad[0], bad[1]]).unwrap(), "kache's own profile wins");
    let error = reads(&proxied, &of("none"), &files).unwrap_err();
    assert!(error.to_string().contains("none"), "{error}");
    // kache's own keys take precedence over everything else.
    assert!(reads(&proxied, &settings(Some(&endpoint)), &[files[0], bad[0], bad[1]]).unwrap());
    let home = dir.path().join("home/.aws");
    std::fs::create_dir_all(&home).unwrap();
    write(&home.join("credentials"), &format!("[default]\n{pair}"));
    assert!(reads(&proxied, &remote, &[("HOME", dir.path().join("home").to_str().unwrap())]).unwrap());
}

/// A log writer that keeps everything in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn r08_no_secret_is_printed_logged_or_part_of_an_error() {
    let proxied = ProxiedServer::new();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::level_filters::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let secrets = [WRITER.1, "token-of-the-session", "a-wrong-secret-key"];
    let session =
        [("AWS_ACCESS_KEY_ID", WRITER.0), ("AWS_SECRET_ACCESS_KEY", secrets[2]), ("AWS_SESSION_TOKEN", secrets[1])];
    let mut said = Vec::new();
    tracing::subscriber::with_default(subscriber, || {
        let endpoint = proxied.server.endpoint();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let own = settings(Some(&endpoint));
            for (remote, vars) in [(own, &session[..0]), (keyless(Some(&endpoint)), &session[..])] {
                let bucket = Bucket::connect_tuned(&remote, &Env::of(vars.iter().copied()), tuning()).await.unwrap();
                write!(said, "{bucket:?} {remote:?}").unwrap();
                for result in [bucket.get("v1/a", 10).await.map(|_| ()), bucket.put("v1/a", b"x".to_vec()).await] {
                    if let Err(error) = result {
                        write!(said, "{error} {error:?}").unwrap();
                    }
                }
            }
        });
    });
    let said = String::from_utf8(said).unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains(WRITER.0) || log.contains("v1/a"), "something was logged");
    assert!(said.contains("403"), "the wrong key was refused");
    for secret in secrets {
        assert!(!said.contains(secret), "said: {secret}");
        let at = log.find(secret).unwrap_or(0);
        assert!(!log.contains(secret), "logged: {}", &log[at.saturating_sub(300)..(at + 100).min(log.len())]);
    }
    assert!(!format!("{:?}", Secret::new("hidden")).contains("hidden"));
}
