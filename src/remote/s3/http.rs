//! The HTTP client: rustls with ring, one pool of connections per remote, and the proxies that [`Env`] names.

use aws_sdk_s3::config::{AsyncSleep, RuntimeComponents, SharedAsyncSleep, SharedHttpClient, Sleep};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{HttpConnectorSettings, SharedHttpConnector};

use super::credentials::first_set;
use super::error::{RemoteError, Result};
use super::tuning::Tuning;
use crate::config::{Env, env};

/// Creates a client for `https://` URLs, or for plain `http://` ones. It reads the system's certificates when it is
/// used.
pub(super) fn client(env: &Env, https: bool, connections: usize) -> Result<SharedHttpClient> {
    let proxy = proxy(env, https)?;
    Ok(Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = Connector::builder().pool_max_idle_per_host(connections);
        builder.set_proxy_config(proxy.clone());
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        match https {
            true => builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build(),
            false => builder.build_http(),
        }
    }))
}

/// Creates a connector for `https://` URLs, or for plain `http://` ones, without the SDK around it.
pub(in crate::remote) fn connector(env: &Env, https: bool, tuning: &Tuning) -> Result<SharedHttpConnector> {
    let mut builder = Connector::builder().pool_max_idle_per_host(tuning.connections);
    builder.set_proxy_config(proxy(env, https)?);
    builder.set_connector_settings(Some(HttpConnectorSettings::builder().connect_timeout(tuning.connect).build()));
    builder.set_sleep_impl(Some(SharedAsyncSleep::new(TokioSleep)));
    Ok(SharedHttpConnector::new(match https {
        true => builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build(),
        false => builder.build_http(),
    }))
}

/// Sleeps by the clock of the runtime, for timeouts of the connector.
#[derive(Debug)]
struct TokioSleep;

impl AsyncSleep for TokioSleep {
    fn sleep(&self, duration: std::time::Duration) -> Sleep {
        Sleep::new(tokio::time::sleep(duration))
    }
}

fn proxy(env: &Env, https: bool) -> Result<Option<ProxyConfig>> {
    let names: &[&str] = if https { &env::HTTPS_PROXIES } else { &env::HTTP_PROXIES };
    let Some(url) = first_set(env, names) else { return Ok(None) };
    let proxy = if https { ProxyConfig::https(url) } else { ProxyConfig::http(url) };
    // The error does not contain the URL, which may hold a password.
    let proxy = proxy.map_err(|_| RemoteError::Setting(format!("the proxy in {} is not a URL", names[0])))?;
    Ok(Some(proxy.no_proxy(first_set(env, &env::NO_PROXY).unwrap_or_default())))
}
