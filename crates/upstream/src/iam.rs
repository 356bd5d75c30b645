//! Tokens of the gateway's own: a user of IAM logs in with a password and gets a token for one
//! project (wire reference 5.1). A token is kept until shortly before its end, fetched by one login
//! however many calls need it at once, and dropped when an upstream refuses it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use moka::Expiry;
use moka::future::Cache;
use restore_model::{Code, Problem, ProjectId, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::fault::{Fault, FaultKind};
use crate::{Client, Token, plain_client};

/// Longest time for one login.
const LOGIN: Duration = Duration::from_secs(15);
/// Largest answer that is read: a catalog may be long where `nocatalog` is not known.
const ANSWER: usize = 512 * 1024;
/// A token is renewed so long before its end, but never before four fifths of its life are over.
const MARGIN: Duration = Duration::from_secs(30 * 60);
/// After a login that failed nobody tries again for so long: five wrong passwords lock a user out.
const PAUSE: Duration = Duration::from_secs(10);

/// A user of IAM, and the project it acts in.
pub struct IamOptions {
    /// What the settings call it.
    pub name: String,
    /// Base URL of IAM, without `/v3`.
    pub endpoint: Uri,
    /// The user's name.
    pub user: String,
    /// The name of the user's domain.
    pub domain: String,
    /// The password.
    pub password: SecretString,
    /// The project.
    pub project: IamProject,
}

/// How a project is named.
#[derive(Clone, Debug)]
pub enum IamProject {
    /// By its id.
    Id(ProjectId),
    /// By its name within the user's domain, such as `eu-de`.
    Name(String),
}

/// One identity. All upstreams that use it share its token.
pub struct Iam {
    options: IamOptions,
    client: Client,
    granted: Cache<(), Arc<Granted>>,
    /// Why the last login failed, and when.
    failed: Mutex<Option<(Instant, Problem)>>,
}

/// A token and what it is good for.
pub(crate) struct Granted {
    pub(crate) token: Token,
    /// The only project whose paths it opens.
    pub(crate) project: String,
    lasts: Duration,
}

/// Keeps a token until it should be renewed.
struct UntilRenewal;

impl Expiry<(), Arc<Granted>> for UntilRenewal {
    fn expire_after_create(&self, (): &(), granted: &Arc<Granted>, _: Instant) -> Option<Duration> {
        Some(granted.lasts)
    }
}

impl std::fmt::Debug for Iam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iam").field("name", &self.options.name).finish_non_exhaustive()
    }
}

impl Iam {
    /// An identity that has not logged in yet.
    ///
    /// # Errors
    /// When TLS is needed and the roots of trust cannot be loaded.
    pub fn new(options: IamOptions) -> Result<Self, String> {
        let client = plain_client(&options.endpoint, LOGIN)?;
        let granted = Cache::builder().max_capacity(1).expire_after(UntilRenewal).build();
        Ok(Self { options, client, granted, failed: Mutex::default() })
    }

    /// A token that is good now.
    pub(crate) async fn token(&self) -> Result<Arc<Granted>, Fault> {
        let granted = self.granted.try_get_with((), self.log_in()).await;
        granted.map_err(|problem| {
            let mut fault = Fault::not_sent(FaultKind::NoCredential, problem.detail.clone());
            fault.problem = Some(Box::new((*problem).clone()));
            fault
        })
    }

    /// The upstream refused this one. A newer one is left alone: another call was faster.
    pub(crate) async fn refused(&self, token: &Token) {
        if self.granted.get(&()).await.is_some_and(|granted| granted.token.is(token)) {
            self.granted.invalidate(&()).await;
        }
    }

    async fn log_in(&self) -> Result<Arc<Granted>, Problem> {
        if let Some((at, problem)) = &*self.failed.lock().unwrap_or_else(PoisonError::into_inner)
            && at.elapsed() < PAUSE
        {
            return Err(problem.clone());
        }
        let outcome = match tokio::time::timeout(LOGIN, self.exchange()).await {
            Ok(outcome) => outcome,
            Err(_) => Err("IAM did not answer in time".to_owned()),
        };
        let outcome = outcome.map(Arc::new).map_err(|why| {
            tracing::warn!(credential = self.options.name, why, "no token from IAM");
            let detail = format!("credential {}: {why}; nothing was sent", self.options.name);
            Problem::new(Code::CredentialFailed, detail).after(10)
        });
        let failed = outcome.as_ref().err().map(|problem| (Instant::now(), problem.clone()));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        outcome
    }

    async fn exchange(&self) -> Result<Granted, String> {
        let options = &self.options;
        let scope = match &options.project {
            IamProject::Id(id) => json!({ "id": id }),
            IamProject::Name(name) => json!({ "name": name }),
        };
        let user = json!({
            "name": options.user,
            "password": options.password.expose_secret(),
            "domain": {"name": options.domain},
        });
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": scope},
        }});
        let base = options.endpoint.to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/v3/auth/tokens?nocatalog=true", base.trim_end_matches('/')))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::from(body.to_string()).into())
            .map_err(|error| error.to_string())?;
        // What the client says of a failed connection names the address and nothing of the body.
        let answer = self.client.request(request).await.map_err(|error| Fault::from_client(&error).detail)?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::CREATED {
            return Err(format!("IAM answered {}", head.status.as_u16()));
        }
        let token = head.headers.get("x-subject-token").and_then(Token::from_header);
        let token = token.ok_or("IAM's answer has no X-Subject-Token")?;
        let body = Limited::new(body, ANSWER).collect().await.map_err(|_| "IAM's answer is cut off")?;
        let body: Value = serde_json::from_slice(&body.to_bytes()).map_err(|_| "IAM's answer is no JSON")?;
        let text = |path: &str| body.pointer(path).and_then(Value::as_str);
        let project = text("/token/project/id").ok_or("IAM's token is for no project")?.to_owned();
        let time = |path: &str| text(path).and_then(|time| time.parse::<Timestamp>().ok());
        let life = time("/token/expires_at").zip(time("/token/issued_at"));
        let (end, begin) = life.ok_or("IAM does not say how long its token lasts")?;
        let life = Duration::from_micros(u64::try_from(end.micros_since(begin)).unwrap_or(0));
        Ok(Granted { lasts: until_renewal(life, token.spread()), token, project })
    }
}

/// How long a token that lives for `life` is used: to some time before its end, spread by up to a
/// tenth so that many gateways do not log in together.
fn until_renewal(life: Duration, spread: u8) -> Duration {
    let used = life.saturating_sub(MARGIN.min(life / 5));
    used - used / 10 * u32::from(spread) / 255
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_its_end_and_a_short_one_still_used() {
        let seconds = Duration::from_secs;
        assert_eq!(until_renewal(seconds(86_400), 0), seconds(84_600));
        assert_eq!(until_renewal(seconds(10), 0), seconds(8));
        for life in [10, 600, 86_400] {
            for spread in [1, 128, 255] {
                let used = until_renewal(seconds(life), spread);
                assert!(used >= seconds(life) * 7 / 10 && used < seconds(life), "{life} {spread}");
            }
        }
    }
}
