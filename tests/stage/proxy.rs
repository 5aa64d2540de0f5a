//! A proxy before the simulated API that sees every request, and may change every answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri, header};
use serde_json::value::RawValue;

/// Changes the answer to a request, at its endpoint (`contacts.list`).
type Meddle = dyn Fn(&str, &Asked, &mut Response<Bytes>) + Send + Sync;

/// A request, as it came.
pub struct Asked {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

#[derive(Clone)]
struct Route {
    to: String,
    http: reqwest::Client,
    meddle: Arc<Meddle>,
}

/// Begins to serve, before the API at `to`, until the runtime ends; `meddle` goes from the endpoint, the request's body
/// and the answer's body to the answer's body. Gives the base URL.
pub async fn proxy(to: String, meddle: impl Fn(&str, &[u8], Bytes) -> Bytes + Send + Sync + 'static) -> String {
    let meddle = move |endpoint: &str, asked: &Asked, answer: &mut Response<Bytes>| {
        *answer.body_mut() = meddle(endpoint, &asked.body, std::mem::take(answer.body_mut()));
    };
    proxy_of_answers(to, meddle).await
}

/// The same, with whole answers: status and headers as well.
pub async fn proxy_of_answers(
    to: String,
    meddle: impl Fn(&str, &Asked, &mut Response<Bytes>) + Send + Sync + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let router = Router::new().fallback(forward).with_state(Route { to, http, meddle: Arc::new(meddle) });
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

async fn forward(State(route): State<Route>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut request = route.http.post(format!("{}{uri}", route.to)).body(body.clone());
    for name in ["authorization", "content-type", "x-api-version"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value.clone());
        }
    }
    let answer = request.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        response = response.header(name, value);
    }
    let mut answer = response.body(answer.bytes().await.unwrap()).unwrap();
    (route.meddle)(uri.path().trim_start_matches('/'), &Asked { headers, body }, &mut answer);
    answer.map(Body::from)
}

/// The fields of a record, as they are written: a text may hold half a surrogate pair, which nothing but this keeps.
pub type Fields = BTreeMap<String, Box<RawValue>>;

/// An answer with other records, of a list or of one.
pub fn with_records(body: &[u8], edit: impl Fn(&mut Fields)) -> Bytes {
    let mut envelope: Fields = serde_json::from_slice(body).unwrap();
    let data = envelope["data"].get();
    let edited = |record: &str| {
        let mut fields: Fields = serde_json::from_str(record).unwrap();
        edit(&mut fields);
        serde_json::to_string(&fields).unwrap()
    };
    let data = match data.starts_with('[') {
        true => {
            let records: Vec<Box<RawValue>> = serde_json::from_str(data).unwrap();
            format!("[{}]", records.iter().map(|record| edited(record.get())).collect::<Vec<_>>().join(","))
        }
        false => edited(data),
    };
    envelope.insert("data".to_owned(), RawValue::from_string(data).unwrap());
    serde_json::to_vec(&envelope).unwrap().into()
}
