//! Tokens of the gateway for one project (cloud APIs 5.1): from the password of a user, from an agency that a user
//! assumes, or from a token for another scope. One login serves all calls that need a token at the same time. The
//! gateway keeps a token until shortly before its end, and drops it when an upstream refuses it. The catalog comes with
//! it if it is needed.

pub(crate) mod catalog;
mod exchange;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use moka::Expiry;
use moka::future::Cache;
use restore_model::{Code, Problem, ProjectId};

use crate::fault::{Fault, FaultKind};
use crate::{Client, SecretCell, Token, client_to, measures};
use catalog::Catalog;

/// Longest time for one login.
const LOGIN: Duration = Duration::from_secs(15);
/// A token is renewed so long before its end, but never before four fifths of its life are over.
const MARGIN: Duration = Duration::from_secs(30 * 60);
/// After a login that failed nobody tries again for so long.
const PAUSE: Duration = Duration::from_secs(10);
/// After one that IAM refused, for so long: five wrong passwords lock a user out. A rotated secret is tried at once.
const LOCKOUT: Duration = Duration::from_secs(5 * 60);

/// An identity of IAM, and the project it acts in.
pub struct IamOptions {
    /// Its name in the configuration.
    pub name: String,
    /// Base URL of IAM, without `/v3`.
    pub endpoint: Uri,
    /// How it proves who it is.
    pub login: IamLogin,
    /// The project.
    pub project: IamProject,
    /// True if the catalog of services is wanted, for upstreams whose endpoint is not in the configuration.
    pub catalog: bool,
    /// Certificates of further roots to trust for IAM, PEM.
    pub ca_file: Option<PathBuf>,
}

/// A user of IAM.
#[derive(Clone, Debug)]
pub struct IamUser {
    /// The user's name.
    pub name: String,
    /// The name of the user's domain.
    pub domain: String,
    /// The password.
    pub password: SecretCell,
}

/// How an identity proves who it is.
#[derive(Clone, Debug)]
pub enum IamLogin {
    /// A user logs in.
    Password(IamUser),
    /// A user logs in, and then acts for another account that has entrusted an agency to the user's.
    Agency {
        /// Of the account that was entrusted.
        user: IamUser,
        /// The agency's name.
        agency: String,
        /// Name of the domain that created it.
        domain: String,
        /// What the agency's name is called in the request: the table of the documentation says `agency_name`, one
        /// example of it says `xrole_name`.
        member: &'static str,
    },
    /// Somebody else's token is scoped to the project.
    Token(SecretCell),
}

impl IamLogin {
    /// The one secret in it.
    fn secret(&self) -> &SecretCell {
        match self {
            Self::Password(user) | Self::Agency { user, .. } => &user.password,
            Self::Token(token) => token,
        }
    }
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
    /// By the version of the secret that each was got with: what is rotated is used at once.
    granted: Cache<u64, Arc<Granted>>,
    /// Why the last login failed, when, and with which version of the secret.
    failed: Mutex<Option<Failed>>,
}

/// A token and what it is good for.
pub(crate) struct Granted {
    pub(crate) token: Token,
    /// The only project whose paths it opens.
    pub(crate) project: String,
    catalog: Option<Catalog>,
    lasts: Duration,
}

/// Keeps a token until it should be renewed.
struct UntilRenewal;

impl Expiry<u64, Arc<Granted>> for UntilRenewal {
    fn expire_after_create(&self, _: &u64, granted: &Arc<Granted>, _: Instant) -> Option<Duration> {
        Some(granted.lasts)
    }
}

/// When a login failed, with which version of the secret, whether IAM refused that, and what is said of it.
type Failed = (Instant, u64, bool, Problem);

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
        let client = client_to(&options.endpoint, LOGIN, options.ca_file.clone())?;
        // Of two versions of the secret, the one that is rotated out counts until the new one has.
        let granted = Cache::builder().max_capacity(2).expire_after(UntilRenewal).build();
        Ok(Self { options, client, granted, failed: Mutex::default() })
    }

    /// Where it logs in.
    pub(crate) fn endpoint(&self) -> String {
        self.options.endpoint.to_string()
    }

    /// A token that is good now.
    pub(crate) async fn token(&self) -> Result<Arc<Granted>, Fault> {
        let (version, _) = self.options.login.secret().versioned();
        match self.granted.try_get_with(version, self.log_in(version)).await {
            Ok(granted) => Ok(granted),
            Err(problem) => match self.granted.get(&version.wrapping_sub(1)).await {
                // The secret is rotated here before it is there: what the old one got still serves.
                Some(older) => Ok(older),
                None => Err(Fault::of_credential((*problem).clone())),
            },
        }
    }

    /// The base URL of the first of these services that the catalog has, where `region` leaves one.
    pub(crate) async fn base(&self, services: &[&str], region: Option<&str>) -> Result<String, Fault> {
        let granted = self.token().await?;
        let found = match &granted.catalog {
            Some(catalog) => catalog.base(services, region),
            None => Err("it was not asked for the catalog".to_owned()),
        };
        found.map_err(|why| {
            let name = &self.options.name;
            let detail =
                format!("the catalog of credential {name} tells no endpoint: {why}; nothing was sent");
            Fault::not_sent(FaultKind::NoEndpoint, detail)
        })
    }

    /// The upstream refused this one. A newer one is left alone: another call was faster.
    pub(crate) async fn refused(&self, token: &Token) {
        let (version, _) = self.options.login.secret().versioned();
        for version in [version, version.wrapping_sub(1)] {
            if self.granted.get(&version).await.is_some_and(|granted| granted.token.is(token)) {
                self.granted.invalidate(&version).await;
            }
        }
    }

    async fn log_in(&self, version: u64) -> Result<Arc<Granted>, Problem> {
        if let Some((at, tried, refused, problem)) =
            &*self.failed.lock().unwrap_or_else(PoisonError::into_inner)
            && *tried == version
            && at.elapsed() < if *refused { LOCKOUT } else { PAUSE }
        {
            return Err(problem.clone());
        }
        let outcome = match tokio::time::timeout(LOGIN, exchange::grant(&self.client, &self.options)).await {
            Ok(outcome) => outcome,
            Err(_) => Err("IAM did not answer in time".to_owned()),
        };
        let refused = outcome.as_ref().is_err_and(|why| why.ends_with(exchange::REFUSED));
        let word = match &outcome {
            Ok(_) => "granted",
            Err(_) if refused => "refused",
            Err(_) => "failed",
        };
        measures::login(&self.options.name, word);
        let outcome = outcome.map(Arc::new).map_err(|why| {
            tracing::warn!(credential = self.options.name, why, "login to IAM failed");
            let detail = format!("credential {}: {why}; nothing was sent", self.options.name);
            let again = if refused { LOCKOUT } else { PAUSE };
            Problem::new(Code::CredentialFailed, detail).after(u32::try_from(again.as_secs()).unwrap_or(10))
        });
        let failed =
            outcome.as_ref().err().map(|problem| (Instant::now(), version, refused, problem.clone()));
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        outcome
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
