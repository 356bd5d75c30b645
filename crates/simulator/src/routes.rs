//! The table of every path of every cloud, and the selection of the cloud for a request.
//!
//! A prefix (`/vbs/…`) or a host name (`vbs.…`) selects the cloud. Without either, the path decides. If two clouds
//! share a path, the first one in `Cloud::ALL` gets it: `/v3/{project_id}/backups…` is CBR's, not VBS's.

use std::collections::HashMap;

use matchit::Router;

use crate::access::Access;
use crate::answer::Answer;
use crate::call::{Call, Cloud};
use crate::world::World;
use crate::{cbr, cinder, csbs, evs, iam, vbs};

/// One operation of a cloud.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) handle: fn(&Call<'_>, &mut World) -> Answer,
}

/// A `GET` that needs a token of the project in the path.
pub(crate) const fn get(path: &'static str, handle: fn(&Call<'_>, &mut World) -> Answer) -> Route {
    Route { method: "GET", path, access: Access::Project, handle }
}

/// A `POST` that needs a token of the project in the path.
pub(crate) const fn post(path: &'static str, handle: fn(&Call<'_>, &mut World) -> Answer) -> Route {
    Route { method: "POST", path, access: Access::Project, handle }
}

fn of(cloud: Cloud) -> &'static [Route] {
    match cloud {
        Cloud::Csbs => csbs::ROUTES,
        Cloud::Cbr => cbr::ROUTES,
        Cloud::Vbs => vbs::ROUTES,
        Cloud::Evs => evs::ROUTES,
        Cloud::Iam => iam::ROUTES,
        Cloud::Cinder => cinder::ROUTES,
    }
}

type Entry = (Cloud, Route);

/// All routes, with and without a selected cloud.
pub(crate) struct Table {
    own: HashMap<Cloud, Router<Vec<Entry>>>,
    any: Router<Vec<Entry>>,
}

/// Result of a lookup.
pub(crate) struct Found<'p> {
    /// `None` if neither host nor path selects a cloud.
    pub(crate) cloud: Option<Cloud>,
    pub(crate) path: &'p str,
    pub(crate) route: Option<Route>,
    pub(crate) params: Vec<(String, String)>,
}

impl Table {
    /// Fails only when two routes of the table contradict each other.
    pub(crate) fn build() -> Result<Self, matchit::InsertError> {
        let own = Cloud::ALL.into_iter().map(|cloud| Ok((cloud, router(&[cloud])?)));
        Ok(Self { own: own.collect::<Result<_, _>>()?, any: router(&Cloud::ALL)? })
    }

    pub(crate) fn find<'p>(&self, method: &http::Method, host: &str, path: &'p str) -> Found<'p> {
        let (named, path) = name_cloud(host, path);
        let router = named.and_then(|cloud| self.own.get(&cloud)).unwrap_or(&self.any);
        let Ok(at) = router.at(path) else {
            return Found { cloud: named, path, route: None, params: Vec::new() };
        };
        let params = at.params.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let entry = at.value.iter().find(|(_, route)| method.as_str() == route.method);
        let cloud = named.or(entry.or(at.value.first()).map(|(cloud, _)| *cloud));
        Found { cloud, path, route: entry.map(|(_, route)| *route), params }
    }
}

fn router(clouds: &[Cloud]) -> Result<Router<Vec<Entry>>, matchit::InsertError> {
    let mut paths: Vec<(&'static str, Vec<Entry>)> = Vec::new();
    for &cloud in clouds {
        for &route in of(cloud) {
            match paths.iter_mut().find(|(path, _)| *path == route.path) {
                Some((_, entries)) => entries.push((cloud, route)),
                None => paths.push((route.path, vec![(cloud, route)])),
            }
        }
    }
    let mut router = Router::new();
    for (path, entries) in paths {
        router.insert(path, entries)?;
    }
    Ok(router)
}

fn name_cloud<'p>(host: &str, path: &'p str) -> (Option<Cloud>, &'p str) {
    for cloud in Cloud::ALL {
        let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(cloud.name()));
        match rest {
            Some("") => return (Some(cloud), "/"),
            Some(rest) if rest.starts_with('/') => return (Some(cloud), rest),
            _ => {}
        }
    }
    let label = host.split('.').next().unwrap_or_default();
    let named = Cloud::ALL.into_iter().find(|cloud| host.contains('.') && cloud.name() == label);
    (named, path)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn prefix_and_host_decide_where_paths_collide() {
        let table = Table::build().unwrap();
        let path = "/v3/p/backups/b/restore";
        let cloud = |host: &str, path: &str| table.find(&Method::POST, host, path).cloud;
        assert_eq!(cloud("127.0.0.1:9000", path), Some(Cloud::Cbr));
        assert_eq!(cloud("vbs.eu-test-1.cloud.example", path), Some(Cloud::Vbs));
        assert_eq!(cloud("127.0.0.1:9000", "/vbs/v3/p/backups/b/restore"), Some(Cloud::Vbs));
        assert_eq!(cloud("127.0.0.1:9000", "/cinder/v3/p/backups/b/restore"), Some(Cloud::Cinder));
        assert_eq!(cloud("127.0.0.1:9000", "/v2/p/cloudbackups/b/restore"), Some(Cloud::Vbs));
        assert_eq!(cloud("127.0.0.1:9000", "/v1/p/restores"), Some(Cloud::Csbs));
        assert_eq!(cloud("127.0.0.1:9000", "/nowhere"), None);
    }

    #[test]
    fn a_cloud_knows_only_its_own_paths_and_methods() {
        let table = Table::build().unwrap();
        let route = |method, path| table.find(&method, "h", path).route;
        assert!(route(Method::POST, "/cbr/v3/p/backups/b/restore").is_some());
        assert!(route(Method::POST, "/cbr/v1/p/restores").is_none());
        assert!(route(Method::PUT, "/cbr/v3/p/backups/b/restore").is_none());
        assert!(route(Method::POST, "/v3/auth/tokens").is_some());
    }
}
