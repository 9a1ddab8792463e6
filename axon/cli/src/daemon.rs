//! The daemon over HTTP.

use std::time::{Duration, Instant};

use axon_package::ModelId;
use reqwest::{Client, Method, Response};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    limits,
};

/// A client of one daemon.
pub(crate) struct Daemon {
    client: Client,
    endpoint: String,
}

impl Daemon {
    pub(crate) fn new(endpoint: String) -> Result<Daemon> {
        // The daemon is on this machine or beside it: what proxies are for does not apply.
        let client = Client::builder()
            .no_proxy()
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .build();
        let client = client.map_err(|error| Error::Other(format!("no HTTP client: {error}")))?;
        Ok(Daemon { client, endpoint })
    }

    /// Where inferences of the model are asked for.
    pub(crate) fn inference_url(&self, id: &str) -> Result<String> {
        Ok(format!("{}/models/{}/inference", self.endpoint, percent(id)?))
    }

    pub(crate) async fn register(&self, body: &Value) -> Result<Value> {
        let url = format!("{}/models/register", self.endpoint);
        self.ask(Method::POST, &url, Some(body), limits::REGISTER_TIMEOUT)
            .await
    }

    pub(crate) async fn infer(&self, id: &str, body: &Value) -> Result<Value> {
        let url = self.inference_url(id)?;
        self.ask(Method::POST, &url, Some(body), limits::INFER_TIMEOUT)
            .await
    }

    /// Waits until the model can serve, and returns what the daemon says of it.
    pub(crate) async fn wait_until_ready(&self, id: &str) -> Result<Value> {
        let url = format!("{}/models/{}", self.endpoint, percent(id)?);
        let (started, mut pause) = (Instant::now(), limits::READY_POLL_FIRST);
        loop {
            let model = self
                .ask(Method::GET, &url, None, limits::REGISTER_TIMEOUT)
                .await?;
            match model["state"].as_str().unwrap_or_default() {
                "ready" => return Ok(model),
                "failed" => {
                    let reason = model["failure"].as_str().unwrap_or("no reason given");
                    return Err(refused(
                        200,
                        "model_failed",
                        &format!("{id} cannot be loaded: {reason}"),
                    ));
                }
                state if started.elapsed() > limits::READY_TIMEOUT => {
                    let message = format!(
                        "{id} is still {state} after {} s",
                        limits::READY_TIMEOUT.as_secs()
                    );
                    return Err(refused(200, "timeout", &message));
                }
                _ => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::READY_POLL_MAX);
        }
    }

    async fn ask(&self, method: Method, url: &str, body: Option<&Value>, timeout: Duration) -> Result<Value> {
        let mut request = self.client.request(method, url).timeout(timeout);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let bytes = self.read(response).await?;
        let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() && answer.is_object() {
            return Ok(answer);
        }
        let error = &answer["error"];
        let message = error["message"].as_str().or(answer["message"].as_str());
        let fallback = if answer.is_null() {
            "it did not answer in JSON; is it mlosd?"
        } else {
            "no reason given"
        };
        Err(refused(
            status.as_u16(),
            error["kind"].as_str().unwrap_or("unknown"),
            message.unwrap_or(fallback),
        ))
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > limits::ANSWER_BYTES_MAX {
                let message = format!("its answer is longer than {} bytes", limits::ANSWER_BYTES_MAX);
                return Err(refused(200, "too_large", &message));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let mut deepest: &dyn std::error::Error = error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        let reason = if error.is_timeout() {
            "it took too long".to_owned()
        } else {
            deepest.to_string()
        };
        Error::Unreachable {
            endpoint: self.endpoint.clone(),
            reason,
            variable: "MLOS_ENDPOINT",
        }
    }
}

fn percent(id: &str) -> Result<String> {
    Ok(ModelId::parse(id)?.to_percent())
}

fn refused(status: u16, kind: &str, message: &str) -> Error {
    Error::Refused {
        status: Some(status),
        kind: kind.to_owned(),
        message: message.to_owned(),
    }
}
