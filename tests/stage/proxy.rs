//! A proxy before the simulated API that sees every request, and may change every answer.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri, header};

/// What is done with an answer: from the endpoint (`contacts.list`), the request's body and the answer's body to the answer's body.
type Meddle = dyn Fn(&str, &[u8], Bytes) -> Bytes + Send + Sync;

#[derive(Clone)]
struct Route {
    to: String,
    http: reqwest::Client,
    meddle: Arc<Meddle>,
}

/// Begins to serve, before the API at `to`, until the runtime ends. Gives the base URL.
pub async fn proxy(to: String, meddle: impl Fn(&str, &[u8], Bytes) -> Bytes + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let router = Router::new().fallback(forward).with_state(Route { to, http, meddle: Arc::new(meddle) });
    tokio::spawn(async { axum::serve(listener, router).await });
    url
}

async fn forward(State(route): State<Route>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut request = route.http.post(format!("{}{uri}", route.to)).body(body.clone());
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value.clone());
        }
    }
    let answer = request.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != header::CONTENT_LENGTH) {
        response = response.header(name, value);
    }
    let answer = answer.bytes().await.unwrap();
    response.body(Body::from((route.meddle)(uri.path().trim_start_matches('/'), &body, answer))).unwrap()
}
