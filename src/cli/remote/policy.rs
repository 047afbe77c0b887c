//! `kache remote policy`: prints what to set up at the storage service.

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::context::{CommandContext, Exit};
use crate::cli::transfer;
use crate::config::{PlaceSettings, S3Settings};

/// Print an IAM policy or lifecycle rules for the bucket
///
/// reader: machines that only pull. writer: machines that push; they may delete
/// build records (push keeps the recent ones) and probes (doctor), no entries.
/// admin: `kache remote gc`, too. lifecycle: rules for the bucket, which end
/// unfinished uploads. Everything is limited to the bucket and prefix of the
/// settings.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = "\
Examples:
  kache remote policy reader > policy.json
  kache remote policy lifecycle > lifecycle.json
  aws s3api put-bucket-lifecycle-configuration --bucket B \\
      --lifecycle-configuration file://lifecycle.json")]
pub(super) struct Args {
    /// What to print
    #[arg(value_enum)]
    what: Policy,
}

/// What to print.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Policy {
    Reader,
    Writer,
    Admin,
    Lifecycle,
}

pub(super) fn run(cx: &CommandContext, args: &Args) -> anyhow::Result<Exit> {
    let config = cx.config()?;
    let settings = transfer::settings(cx, &config)?;
    let s3 = settings.layers.iter().find_map(|layer| match &layer.place {
        PlaceSettings::S3(s3) => Some(s3),
        _ => None,
    });
    let s3 = s3.context("policies are for buckets, and the settings name none")?;
    cx.out.json(&document(args.what, s3))?;
    Ok(Exit::Ok)
}

fn document(what: Policy, s3: &S3Settings) -> Value {
    let prefix = if s3.prefix.is_empty() { String::new() } else { format!("{}/", s3.prefix) };
    if what == Policy::Lifecycle {
        return lifecycle(&prefix);
    }
    let bucket = format!("arn:aws:s3:::{}", s3.bucket);
    let objects = |below: &str| format!("{bucket}/{prefix}{below}*");
    let list = json!({
        "Sid": "List",
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [bucket],
        "Condition": { "StringLike": { "s3:prefix": [format!("{prefix}v2/*")] } },
    });
    let read = json!({
        "Sid": "Read",
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": [objects("v2/")],
    });
    let write = json!({
        "Sid": "Write",
        "Effect": "Allow",
        "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
        "Resource": [objects("v2/")],
    });
    let delete = |below: &[&str]| {
        json!({
            "Sid": "Delete",
            "Effect": "Allow",
            "Action": ["s3:DeleteObject"],
            "Resource": below.iter().map(|below| objects(below)).collect::<Vec<_>>(),
        })
    };
    let uploads = json!({
        "Sid": "Uploads",
        "Effect": "Allow",
        "Action": ["s3:ListBucketMultipartUploads"],
        "Resource": [bucket],
    });
    let statements = match what {
        Policy::Writer => vec![list, read, write, delete(&["v2/builds/", "v2/probe/"])],
        Policy::Admin => vec![list, read, write, delete(&["v2/"]), uploads],
        Policy::Reader | Policy::Lifecycle => vec![list, read],
    };
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// Ends unfinished uploads. Entries are not deleted by age: `kache remote gc` knows which are in use.
fn lifecycle(prefix: &str) -> Value {
    json!({ "Rules": [
        {
            "ID": "kache-unfinished-uploads",
            "Status": "Enabled",
            "Filter": { "Prefix": prefix },
            "AbortIncompleteMultipartUpload": { "DaysAfterInitiation": 7 },
        },
        {
            "ID": "kache-probes",
            "Status": "Enabled",
            "Filter": { "Prefix": format!("{prefix}v2/probe/") },
            "Expiration": { "Days": 1 },
        },
    ]})
}
