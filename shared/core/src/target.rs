//! Where calls go: the URLs of tools and subscribers.

use url::Url;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// What is wrong with a target, if anything. As it is written it is called: nothing in it is
/// repaired or passed over, so that what people read is where a call goes.
pub fn problem(target: &str, plain_http: bool) -> Option<String> {
    let wanted = if plain_http { "an http or https URL" } else { "an https URL" };
    if target.len() > URL_BYTES_MAX {
        return Some(format!("{wanted} of at most {URL_BYTES_MAX} bytes"));
    }
    let Ok(url) = Url::parse(target) else {
        return Some(wanted.to_owned());
    };
    let scheme = url.scheme() == "https" || (plain_http && url.scheme() == "http");
    if !scheme || !url.has_host() {
        return Some(wanted.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Some("a URL carries no user name and no password".to_owned());
    }
    if url.port() == Some(0) {
        return Some("port 0 does not exist".to_owned());
    }
    if url.fragment().is_some() {
        return Some("a fragment is not sent: leave `#...` out".to_owned());
    }
    // The parser repairs much: blanks, backslashes, missing or additional slashes, an empty user.
    let written = url.as_str();
    let same =
        written == target || (url.path() == "/" && written.strip_suffix('/') == Some(target));
    (!same).then(|| format!("write it as `{written}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_called_as_it_is_written() {
        for good in [
            "https://a.example",
            "https://a.example/",
            "https://a.example:8443/p?q=1&r=%20",
            "https://[2001:db8::1]/x",
        ] {
            assert_eq!(problem(good, false), None, "{good}");
        }
        assert_eq!(problem("http://127.0.0.1:8080/x", true), None);
        for bad in [
            "http://a.example",
            "ftp://a.example",
            "https://",
            "https:///x",
            "https://@a.example/",
            "https://u@a.example/",
            "https://u:p@a.example/",
            "https://a.example:0/",
            "https://a.example\\x",
            "https:\\\\a.example",
            " https://a.example",
            "https://a.example/a b",
            "https://a.example/\r\nX: y",
            "https://a.example/a/../b",
            "HTTPS://a.example",
            "https://A.example/",
            "https://a.example/#f",
            "a.example",
        ] {
            assert!(problem(bad, false).is_some(), "{bad}");
        }
    }
}
