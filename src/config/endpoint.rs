//! Addresses in settings: of Teamleader, and of this worker as browsers reach it.

use std::net::IpAddr;

use reqwest::Url;

/// A URL with http or https and a host. An error says why, and shows nothing of the URL. User and password are
/// refused: addresses are logged and shown, and nothing here logs in by one.
pub fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL like https://host/path: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("a URL that begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL without user and password, since it is logged and shown".to_owned());
    }
    Ok(url)
}

/// The same for one that paths are appended to.
pub fn base_url(text: &str) -> Result<String, String> {
    let url = http_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("a URL without ? and #, since paths are appended to it".to_owned());
    }
    Ok(text.to_owned())
}

/// Whether what goes there can be read on its way: it is not encrypted, and leaves this machine.
pub fn can_be_overheard(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default();
    let is_this_machine = host == "localhost"
        || host.ends_with(".localhost")
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
    url.scheme() == "http" && !is_this_machine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_is_refused_and_not_shown() {
        for url in ["https://anna:hunter2@api.example.com", "https://hunter2@api.example.com/", "https://:hunter2@x"] {
            let refused = base_url(url).expect_err(url);
            assert!(refused.contains("without user and password") && !refused.contains("hunter2"), "{refused}");
        }
        assert!(base_url("https://api.example.com/?key=hunter2").is_err_and(|why| !why.contains("hunter2")));
        assert!(base_url("https://api.example.com/#x").is_err());
        assert!(http_url("https://sync.example.com/sync/oauth?a=b").is_ok());
        assert_eq!(base_url("https://api.example.com/v2").as_deref(), Ok("https://api.example.com/v2"));
    }

    #[test]
    fn only_plain_http_beyond_this_machine_can_be_overheard() {
        for url in
            ["http://api.example.com", "http://10.0.0.1:8080", "http://localhost.example.com", "http://[2001:db8::1]"]
        {
            assert!(can_be_overheard(url), "{url}");
        }
        for url in [
            "https://api.example.com",
            "http://127.0.0.1:8090",
            "http://localhost",
            "http://[::1]:1",
            "http://a.localhost",
        ] {
            assert!(!can_be_overheard(url), "{url}");
        }
    }
}
