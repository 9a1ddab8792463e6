//! One handler for each action: decode, one call of the engine, encode.

use std::path::PathBuf;
use std::rc::Rc;

use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Request};
use hyper::body::{Body, Incoming};
use mlos_api::{Error, ModelRef, Readiness, RegisterRequest, Service};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::answer::{self, Answer, Refusal};
use crate::receive::receive;
use crate::router::{self, Action};
use crate::watch::{Phase, Watch};
use crate::{Edge, Timer, cors, decode, encode, metrics, views};

/// What the handlers of one connection work with.
pub(crate) struct Desk<S, T> {
    pub(crate) service: S,
    pub(crate) edge: Rc<Edge>,
    pub(crate) watch: Rc<Watch<T>>,
}

/// Answers one request.
pub(crate) async fn answer<S: Service, T: Timer>(desk: &Desk<S, T>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    desk.watch.set_unread(!body.is_end_stream());
    desk.watch.enter(Phase::Running);
    let allowed = cors::check(&desk.edge.config, &head);
    let mut answer = match &allowed {
        Ok(_) => act(desk, &head, body)
            .await
            .unwrap_or_else(|refusal| refusal.answer()),
        Err(refusal) => refusal.answer(),
    };
    if let Ok(Some(origin)) = allowed {
        cors::allow(&mut answer, origin);
    }
    // From here on it is the client's turn: to take the answer, and to ask again.
    desk.watch.enter(Phase::Idle);
    answer
}

async fn act<S: Service, T: Timer>(
    desk: &Desk<S, T>,
    head: &Parts,
    body: Incoming,
) -> Result<Answer, Refusal> {
    let service = &desk.service;
    Ok(match router::route(&head.method, head.uri.path())? {
        Action::Index => answer::json(200, &views::Index::new(&service.health())),
        Action::Health => health(service),
        Action::Stats => answer::json(200, &service.stats()),
        Action::Metrics => answer::metrics_text(metrics::text(&service.stats(), &service.health())),
        Action::Plugins => answer::json(200, &views::Plugins::new(service.plugins())),
        Action::Models => answer::json(200, &views::Models::new(&service.models())),
        Action::Register => register(desk, body).await?,
        Action::Scan => answer::json(200, &views::Scan::new(&service.scan().await?)),
        Action::Model(model) => answer::json(200, &views::Model::new(&*service.model(&model)?)),
        Action::Unregister(model) => unregister(service, &model).await?,
        Action::Infer(model) => infer(desk, &model, head, body).await?,
        Action::Activate(model) => activate(service, &model).await?,
        Action::Options(allow) => options(allow),
    })
}

async fn infer<S: Service, T: Timer>(
    desk: &Desk<S, T>,
    model: &ModelRef,
    head: &Parts,
    body: Incoming,
) -> Result<Answer, Refusal> {
    let service = &desk.service;
    let mut envelope = decode::Envelope::open(&head.headers)?;
    // Before the body is read: a request for a model that is not there need not be sent.
    let detail = service.model(model)?;
    let received = receive(desk, body).await?;
    envelope.body = received.bytes.clone();
    let breathe = async || service.breathe().await;
    let request = decode::request(model, envelope, &detail, service.pool(), &breathe).await?;
    // A body may be large, and an inference long.
    drop(received);
    let response = service.infer(request).await?;
    Ok(answer::json_text(
        200,
        encode::response(&response, &breathe).await,
    ))
}

fn health<S: Service>(service: &S) -> Answer {
    let health = service.health();
    let status = match health.status {
        Readiness::Healthy => 200,
        Readiness::Draining => 503,
    };
    answer::json(status, &views::Health::new(&health))
}

/// The body of a registration. The last four are what its predecessor was told; the package's manifest says it now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisterBody {
    model_id: Option<String>,
    #[serde(alias = "model_path")]
    path: PathBuf,
    manifest_path: Option<PathBuf>,
    #[serde(default = "yes")]
    activate: bool,
    #[serde(rename = "plugin_id", alias = "framework")]
    _runs_on: Option<IgnoredAny>,
    #[serde(rename = "execution_format")]
    _format: Option<IgnoredAny>,
    #[serde(rename = "name")]
    _name: Option<IgnoredAny>,
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
}

const fn yes() -> bool {
    true
}

async fn register<S: Service, T: Timer>(desk: &Desk<S, T>, body: Incoming) -> Result<Answer, Refusal> {
    let received = receive(desk, body).await?;
    let body: RegisterBody = serde_json::from_slice(&received.bytes)
        .map_err(|error| Error::InvalidArgument(format!("the body is not a registration: {error}")))?;
    let registered = desk
        .service
        .register(RegisterRequest {
            model: body.model_id.as_deref().map(ModelRef::parse).transpose()?,
            path: body.path,
            manifest_path: body.manifest_path,
            activate: body.activate,
        })
        .await?;
    let status = if registered.already { 200 } else { 201 };
    Ok(answer::json(status, &views::Registered::new(&registered)))
}

async fn unregister<S: Service>(service: &S, model: &ModelRef) -> Result<Answer, Refusal> {
    service.unregister(model).await?;
    Ok(answer::json(
        200,
        &views::Done::new(model, "unregistered; its memory is given back"),
    ))
}

async fn activate<S: Service>(service: &S, model: &ModelRef) -> Result<Answer, Refusal> {
    let active = service.activate(model).await?;
    Ok(answer::json(
        200,
        &views::Done::new(&active, "is what requests without a version get"),
    ))
}

fn options(allow: &'static str) -> Answer {
    let mut answer = answer::empty(204);
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    answer
}
