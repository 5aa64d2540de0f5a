//! The origin of a request, by its headers: the name by which it calls this machine, the site of the page that sends
//! it, and whether a browser asks for a page.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, Uri, header};

/// Whether a request calls this machine by one name, and one that only this machine has.
pub(super) fn names_this_machine(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let is_known = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_loopback),
        _ => false,
    };
    is_known && uri.authority().is_none()
}

/// Whether a `Host` names this machine: `localhost`, `127.0.0.1` or `[::1]`, with a port or without.
fn is_loopback(host: &str) -> bool {
    let name = host.split_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let address = host.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| host.parse::<IpAddr>());
    let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.is_loopback())
        || in_brackets.and_then(|text| text.parse::<Ipv6Addr>().ok()).is_some_and(|address| address.is_loopback())
}

/// Whether a browser reports that a page of another site made this request.
pub(super) fn is_of_another_site(headers: &HeaderMap) -> bool {
    if let Some(site) = text(headers, "sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(headers, "origin") else { return false };
    let authority = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    authority.is_none_or(|authority| Some(authority.as_str()) != text(headers, "host"))
}

/// Whether a page of another site loads this, as a picture or in a frame, and no user has followed a link to it.
pub(super) fn is_loaded_by_another_site(headers: &HeaderMap) -> bool {
    is_of_another_site(headers) && text(headers, "sec-fetch-dest").is_some_and(|shown| shown != "document")
}

/// Whether the browser hides which page made this request.
pub(super) fn is_hidden(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-site").is_none() && text(headers, "origin") == Some("null")
}

/// Whether a browser asks for a page.
pub(super) fn accepts_html(headers: &HeaderMap) -> bool {
    text(headers, "accept").is_some_and(|accepts| accepts.contains("text/html"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("valid")))
            .collect()
    }

    #[test]
    fn browsers_report_where_a_request_comes_from() {
        for (pairs, another) in [
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "cross-site")], true),
            (vec![("sec-fetch-site", "same-site")], true),
            (vec![("origin", "http://localhost:8080"), ("host", "localhost:8080")], false),
            (vec![("origin", "http://evil.example"), ("host", "localhost:8080")], true),
            (vec![("origin", "null"), ("host", "localhost:8080")], true),
            (vec![], false),
        ] {
            assert_eq!(is_of_another_site(&headers(&pairs)), another, "{pairs:?}");
        }
        let picture = headers(&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")]);
        let link = headers(&[("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")]);
        assert!(is_loaded_by_another_site(&picture) && !is_loaded_by_another_site(&link));
    }
}
