//! Identity: tokens by password, by token and by agency; verification, revocation, catalog, projects and temporary
//! keys. Errors have Keystone's format.

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderName;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::{Access, Grant};
use crate::answer::Answer;
use crate::call::Call;
use crate::routes::Route;
use crate::world::{OTHER_PROJECT, OTHER_PROJECT_NAME, PROJECT, PROJECT_NAME, World};

const USER: (&str, &str) = ("5d1c0b2a49384756a1b2c3d4e5f60718", "restore-bot");
const PASSWORD: &str = "example-only";
const DOMAIN: (&str, &str) = ("aa11bb22cc33dd44ee55ff6600771188", "OTC00000000001000012345");
const AGENCY: (&str, &str) = ("customer-domain", "restore-agency");
const SUBJECT: HeaderName = HeaderName::from_static("x-subject-token");
const BODY_LIMIT: usize = 32 * 1024;

const fn route(
    method: &'static str,
    path: &'static str,
    access: Access,
    handle: fn(&Call<'_>, &mut World) -> Answer,
) -> Route {
    Route { method, path, access, handle }
}

pub(crate) const ROUTES: &[Route] = &[
    route("POST", "/v3/auth/tokens", Access::Open, issue),
    route("GET", "/v3/auth/tokens", Access::Token, verify),
    route("HEAD", "/v3/auth/tokens", Access::Token, verify),
    route("DELETE", "/v3/auth/tokens", Access::Token, revoke),
    route("GET", "/v3/auth/catalog", Access::Token, show_catalog),
    route("GET", "/v3/projects", Access::Token, projects),
    route("POST", "/v3.0/OS-CREDENTIAL/securitytokens", Access::Token, temporary_keys),
    route("GET", "/v3", Access::Open, version),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    auth: Auth,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    identity: Identity,
    scope: Option<Scope>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    methods: Vec<String>,
    password: Option<PasswordMethod>,
    token: Option<TokenMethod>,
    assume_role: Option<AssumeRole>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordMethod {
    user: User,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    id: Option<String>,
    name: Option<String>,
    password: String,
    domain: Option<Named>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenMethod {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AssumeRole {
    domain_id: Option<String>,
    domain_name: Option<String>,
    /// The documentation's table has `agency_name`, one example has `xrole_name`.
    #[serde(alias = "xrole_name")]
    agency_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    project: Option<ScopeProject>,
    domain: Option<Named>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeProject {
    id: Option<String>,
    name: Option<String>,
    #[serde(rename = "domain")]
    _domain: Option<Named>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: Option<String>,
    name: Option<String>,
}

fn bad(message: &str) -> Answer {
    Answer::keystone(StatusCode::BAD_REQUEST, message)
}

fn denied(message: &str) -> Answer {
    Answer::keystone(StatusCode::UNAUTHORIZED, message)
}

fn is_one_of(pair: (&str, &str), id: Option<&String>, name: Option<&String>) -> bool {
    (id.is_some() || name.is_some())
        && id.is_none_or(|id| id == pair.0)
        && name.is_none_or(|name| name == pair.1)
}

fn issue(call: &Call<'_>, world: &mut World) -> Answer {
    match grant(call, world) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn grant(call: &Call<'_>, world: &mut World) -> Result<Answer, Answer> {
    if call.body.len() > BODY_LIMIT {
        return Err(Answer::flat(StatusCode::BAD_REQUEST, "IAM.1101", "The request body is too large."));
    }
    if !call.is_json() {
        return Err(bad("The content type is not application/json."));
    }
    let Body { auth } = call.parse().map_err(|fault| bad(&format!("Invalid request: {fault}")))?;
    prove(call, world, &auth.identity)?;
    let project = project(auth.scope.as_ref())?;
    let lasts = SignedDuration::from_secs(i64::from(world.behaviour.token_lifetime_seconds));
    let expires_at = call.now.checked_add(lasts).unwrap_or(Timestamp::MAX);
    let shown = shape(call, &auth.identity.methods, project, expires_at);
    let token = format!("MIISIM{}{}", crate::ids::uuid().simple(), crate::ids::uuid().simple());
    let project_id = project.map(|(id, _)| id.to_owned());
    world
        .tokens
        .issue(token.clone(), Grant { project_id, expires_at: Some(expires_at), shown: shown.clone() });
    Ok(Answer::json(StatusCode::CREATED, &json!({"token": shown})).with_header(SUBJECT, &token))
}

/// Checks the credential of each named method.
fn prove(call: &Call<'_>, world: &World, identity: &Identity) -> Result<(), Answer> {
    if identity.methods.is_empty() {
        return Err(bad("methods must name a method."));
    }
    for method in &identity.methods {
        match (method.as_str(), &identity.password, &identity.token, &identity.assume_role) {
            ("password", Some(method), _, _) => {
                let user = &method.user;
                let domain = user.domain.as_ref();
                let in_domain = user.id.is_some()
                    || domain
                        .is_some_and(|domain| is_one_of(DOMAIN, domain.id.as_ref(), domain.name.as_ref()));
                let known = is_one_of(USER, user.id.as_ref(), user.name.as_ref());
                if !(known && in_domain && user.password == PASSWORD) {
                    return Err(denied("The username or password is wrong."));
                }
            }
            ("token", _, Some(method), _) => {
                let good = world.tokens.good(&method.id, call.now);
                good.ok_or_else(|| denied("The token is invalid or has expired."))?;
            }
            ("assume_role", _, _, Some(role)) => {
                let caller = call.header("x-auth-token").and_then(|token| world.tokens.good(token, call.now));
                caller.ok_or_else(|| denied("The request you have made requires authentication."))?;
                let domain = role.domain_name.as_deref() == Some(AGENCY.0)
                    || role.domain_id.as_deref() == Some(DOMAIN.0);
                if !domain || role.agency_name != AGENCY.1 {
                    let message = "The agency does not exist or may not be assumed.";
                    return Err(Answer::keystone(StatusCode::FORBIDDEN, message));
                }
            }
            (other, ..) => {
                return Err(bad(&format!("The method {other} is not supported or has no object.")));
            }
        }
    }
    Ok(())
}

fn project(scope: Option<&Scope>) -> Result<Option<(&'static str, &'static str)>, Answer> {
    let Some(scope) = scope else { return Ok(None) };
    match (&scope.project, &scope.domain) {
        (Some(wanted), None) => {
            let known = [(PROJECT, PROJECT_NAME), (OTHER_PROJECT, OTHER_PROJECT_NAME)];
            let mut known = known.into_iter();
            let found = known.find(|pair| is_one_of(*pair, wanted.id.as_ref(), wanted.name.as_ref()));
            found.map(Some).ok_or_else(|| denied("The project of the scope could not be found."))
        }
        (None, Some(domain)) if is_one_of(DOMAIN, domain.id.as_ref(), domain.name.as_ref()) => Ok(None),
        (None, Some(_)) => Err(denied("The domain of the scope could not be found.")),
        _ => Err(bad("scope must be a project or a domain.")),
    }
}

fn iam_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn shape(call: &Call<'_>, methods: &[String], project: Option<(&str, &str)>, expires_at: Timestamp) -> Value {
    let domain = json!({"id": DOMAIN.0, "name": DOMAIN.1});
    let mut token = json!({
        "methods": methods, "issued_at": iam_time(call.now), "expires_at": iam_time(expires_at),
        "user": {"id": USER.0, "name": USER.1, "domain": domain, "password_expires_at": ""},
        "roles": [{"id": "0", "name": "op_gated_example"}],
    });
    match project {
        Some((id, name)) => {
            token["project"] = json!({"id": id, "name": name, "domain": domain});
            if call.query.get("nocatalog") != Some("true") {
                token["catalog"] = catalog(call.base_url, id);
            }
        }
        None => token["domain"] = domain,
    }
    token
}

fn catalog(base_url: &str, project: &str) -> Value {
    let services = [
        ("cbr", "cbr", "cbr/v3"),
        ("data-protect", "csbs", "csbs/v1"),
        ("vbs", "vbs", "vbs/v2"),
        ("vbsv2", "vbsv2", "vbs/v2"),
        ("volumev2", "evs", "evs/v2"),
        ("volumev3", "evsv3", "evs/v3"),
        ("block-storage", "cinder", "cinder/v3"),
    ];
    let entry = |(number, (kind, name, path)): (usize, (&str, &str, &str))| {
        json!({"type": kind, "id": format!("c{number}"), "name": name, "endpoints": [{
            "id": format!("e{number}"), "interface": "public", "region": PROJECT_NAME,
            "region_id": PROJECT_NAME, "url": format!("{base_url}/{path}/{project}"),
        }]})
    };
    services.into_iter().enumerate().map(entry).collect()
}

/// Returns the token that a request is about.
fn subject<'w>(call: &Call<'_>, world: &'w World) -> Result<&'w Grant, Answer> {
    let Some(token) = call.header(SUBJECT.as_str()) else {
        return Err(bad("X-Subject-Token is wanted."));
    };
    let good = world.tokens.good(token, call.now);
    good.ok_or_else(|| Answer::keystone(StatusCode::NOT_FOUND, "The token could not be found."))
}

fn verify(call: &Call<'_>, world: &mut World) -> Answer {
    let token = call.header(SUBJECT.as_str()).unwrap_or_default();
    match subject(call, world) {
        Ok(grant) => {
            let shown = match (&grant.shown, grant.project_id.as_deref()) {
                // IAM never issued the initial world's own token: it counts as just issued.
                (Value::Null, Some(project)) => {
                    let lasts = SignedDuration::from_hours(24);
                    let end = call.now.checked_add(lasts).unwrap_or(Timestamp::MAX);
                    let name = if project == PROJECT { PROJECT_NAME } else { OTHER_PROJECT_NAME };
                    shape(call, &["password".to_owned()], Some((project, name)), end)
                }
                (shown, _) => shown.clone(),
            };
            let answer = Answer::ok(&json!({"token": shown})).with_header(SUBJECT, token);
            if call.method != http::Method::HEAD {
                return answer;
            }
            Answer { body: Bytes::new(), ..answer.without_content_type() }
        }
        Err(answer) => answer,
    }
}

fn revoke(call: &Call<'_>, world: &mut World) -> Answer {
    if let Err(answer) = subject(call, world) {
        return answer;
    }
    world.tokens.revoke(call.header(SUBJECT.as_str()).unwrap_or_default());
    Answer::empty(StatusCode::NO_CONTENT)
}

fn caller<'w>(call: &Call<'_>, world: &'w World) -> Option<&'w Grant> {
    world.tokens.good(call.header("x-auth-token")?, call.now)
}

fn show_catalog(call: &Call<'_>, world: &mut World) -> Answer {
    let project = caller(call, world).and_then(|grant| grant.project_id.as_deref());
    match project {
        Some(project) => Answer::ok(&json!({"catalog": catalog(call.base_url, project), "links": {}})),
        None => Answer::keystone(StatusCode::FORBIDDEN, "The token has no project."),
    }
}

fn projects(call: &Call<'_>, _: &mut World) -> Answer {
    let known = [(PROJECT, PROJECT_NAME), (OTHER_PROJECT, OTHER_PROJECT_NAME)];
    let wanted = known.into_iter().filter(|(_, name)| call.query.admits("name", name));
    let shape = |(id, name)| {
        json!({"id": id, "name": name, "domain_id": DOMAIN.0, "parent_id": DOMAIN.0, "enabled": true,
            "is_domain": false, "description": ""})
    };
    Answer::ok(&json!({"projects": wanted.map(shape).collect::<Vec<_>>(), "links": {}}))
}

fn temporary_keys(call: &Call<'_>, world: &mut World) -> Answer {
    let body: Value = match call.parse() {
        Ok(body) => body,
        Err(fault) => return bad(&format!("Invalid request: {fault}")),
    };
    let identity = &body["auth"]["identity"];
    let method = identity["methods"][0].as_str().unwrap_or_default();
    if !matches!(method, "token" | "assume_role") {
        return bad("methods must be token or assume_role.");
    }
    let seconds = identity[method]["duration_seconds"].as_i64().unwrap_or(900);
    if !(900..=86_400).contains(&seconds) {
        return bad("duration_seconds must be 900 to 86400.");
    }
    let expires_at = call.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    let project = caller(call, world).and_then(|grant| grant.project_id.clone());
    let made = world.keys.issue(project.as_deref().unwrap_or(PROJECT), expires_at);
    let body = json!({"credential": {
        "access": made.access, "secret": made.secret, "securitytoken": made.security_token,
        "expires_at": iam_time(expires_at),
    }});
    Answer::json(StatusCode::CREATED, &body)
}

fn version(call: &Call<'_>, _: &mut World) -> Answer {
    let links = json!([{"rel": "self", "href": format!("{}/iam/v3/", call.base_url)}]);
    let version = json!({"id": "v3.6", "status": "stable", "links": links, "media-types": []});
    Answer::ok(&json!({"version": version}))
}
