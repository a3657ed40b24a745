//! The outbound rules: no redirects, no proxies, no private addresses unless allowed.

use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use url::{Host, Url};

/// Longest wait for a connection.
const CONNECT_MS: u64 = 5_000;
/// Idle connections kept to one host.
const IDLE_PER_HOST_MAX: usize = 256;

/// The clients that every call goes through.
pub struct Outbound {
    /// Resolves public addresses only.
    public: Client,
    any: Client,
}

impl Outbound {
    /// Makes the clients.
    pub fn new() -> Result<Self, reqwest::Error> {
        // The first one installed stays; that it was there already is no fault.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .connect_timeout(Duration::from_millis(CONNECT_MS))
                .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
                .tcp_nodelay(true)
                .http1_only()
                .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self {
            public: builder().dns_resolver(Arc::new(PublicOnly)).build()?,
            any: builder().build()?,
        })
    }

    /// The client for a target, and the target itself; refused where a rule forbids it.
    pub fn target(&self, target: &str, allow_private: bool) -> Result<(&Client, Url), String> {
        let url =
            Url::parse(target).map_err(|error| format!("the target is not a URL: {error}"))?;
        match forbidden(&url, allow_private) {
            Some(why) => Err(why),
            None => Ok((if allow_private { &self.any } else { &self.public }, url)),
        }
    }
}

fn forbidden(url: &Url, allow_private: bool) -> Option<String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Some(format!("`{}` is not http or https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("a target carries no credentials in its URL".into());
    }
    let address = match url.host()? {
        Host::Domain(_) => return None, // judged when it is resolved
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => IpAddr::V6(address),
    };
    (!allow_private && !is_public(address)).then(|| format!("{address} is not a public address"))
}

/// Whether an address is of the public internet: not loopback, private, link-local (where clouds
/// keep their metadata), shared, reserved or multicast.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
                || a >= 240)
        }
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            let [first, second, ..] = segments;
            let embedded = v6.to_ipv4().or(match segments {
                // NAT64 (64:ff9b::/96) and 6to4 (2002::/16) reach an IPv4 address.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4_of(high, low)),
                [0x2002, high, low, ..] => Some(v4_of(high, low)),
                _ => None,
            });
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || (first & 0xfe00) == 0xfc00
                || (first & 0xffc0) == 0xfe80
                || (first == 0x2001 && second == 0xdb8))
                && embedded.is_none_or(|v4| is_public(IpAddr::V4(v4)))
        }
    }
}

fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

/// Resolves names to public addresses only. The check is on the address that is connected to, so
/// that a name that changes its mind between a check and a connection gains nothing.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(format!("`{}` has no public address", name.as_str()).into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fd00:ec2::254",
            "fe80::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "255.255.255.255",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "8.8.8.8", "2606:4700::1111"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for url in [
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::ffff:10.0.0.1]/",
            "file:///etc/passwd",
            "http://u:p@1.1.1.1/",
        ] {
            assert!(forbidden(&Url::parse(url).unwrap(), false).is_some(), "{url}");
        }
    }
}
