//! The code table against its file, and against the reference by hand; the reader of errors where
//! its own table of shapes ends.

use restore_generations::codes::{self, Hint, Under};
use restore_generations::{Reply, Verdict, classify, errors};
use restore_model::{Code, Retry};

#[test]
fn every_row_is_read_back_as_it_is_written() {
    let mut rows = 0;
    for line in include_str!("../../src/codes.tsv").lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [code, status, class, hint, meaning] = columns.as_slice() else { panic!("{line}") };
        let row = codes::find(code, status.parse().unwrap_or(400)).unwrap_or_else(|| panic!("{line}"));
        let read = match row.hint {
            Hint::No => "no",
            Hint::Later => "later",
            Hint::Bounded => "bounded",
            Hint::Reroute => "reroute",
            Hint::Auth => "auth",
            Hint::Ambiguous => "ambiguous",
        };
        assert_eq!((row.code, row.class.as_str(), read, row.meaning), (*code, *class, *hint, *meaning));
        let under = match row.status {
            Under::Any => "*".to_owned(),
            Under::Refusal => "4xx".to_owned(),
            Under::Status(status) => status.to_string(),
        };
        assert_eq!(under, *status);
        rows += 1;
    }
    assert_eq!(rows, codes::all().len());
}

/// Every code the reference gives a class, by family.
const FAMILIES: &[(&str, &str)] = &[
    (
        "CSBS.",
        "2003 2004 3001 4000 6000 6001 6013 6014 6015 6016 6017 6018 6019 6020 6021 6023 6024 6025 6040 6061 \
               9001 9009 9998 9999",
    ),
    (
        "BackupService.",
        "0002 2001 2002 2003 2004 2005 2006 2007 2008 2009 2010 2011 2012 2013 2014 2015 4002 4003 4008 \
                        6105 6112 6200 6202 6203 6205 6217 6300 6301 6302 6500 6501 7000 7004 7005 7008 7009 7100 7110 \
                        7112 7114 7115 7117 7507 7508 7509 7510 7511 7601 7603 8600 9900 9910 9998",
    ),
    ("common.", "0011"),
    (
        "VolumeBackup.",
        "0014 0041 0042 0044 0089 0111 0200 0201 0202 0203 0204 0205 0206 0207 0208 0209 0210 0211 0900",
    ),
    (
        "APIGW.",
        "0101 0103 0201 0301 0302 0303 0305 0306 0307 0308 0310 0601 0602 0605 0606 0608 0610 0613 0801 0802",
    ),
    (
        "IAM.",
        "0001 0002 0003 0006 0012 0061 0062 0066 0067 0080 0081 0082 0083 1101 1104 1105 1106 1107 1108 1109",
    ),
];

#[test]
fn the_table_has_every_code_of_the_reference_and_no_other() {
    let mut expected: Vec<String> = FAMILIES
        .iter()
        .flat_map(|(family, numbers)| {
            numbers.split_whitespace().map(move |number| format!("{family}{number}"))
        })
        .collect();
    let mut found: Vec<String> = codes::all().iter().map(|row| row.code.to_owned()).collect();
    expected.sort();
    found.sort();
    found.dedup();
    assert_eq!(found, expected);
}

fn reply(status: u16, body: &str) -> Reply {
    Reply { status, body: body.as_bytes().to_vec().into(), ..Reply::default() }
}

#[test]
fn spot_checks_by_hand() {
    let rows = [
        ("CSBS.4000", 400, Code::BackupNotReady, Some(Retry::Later)),
        ("CSBS.6001", 400, Code::TargetNotReady, Some(Retry::Never)),
        ("CSBS.6014", 400, Code::MappingInvalid, Some(Retry::Never)),
        ("CSBS.9998", 500, Code::UpstreamUnavailable, None),
        ("BackupService.2005", 400, Code::BackupNotReady, Some(Retry::Later)),
        ("BackupService.4002", 400, Code::UpstreamMigrating, Some(Retry::Later)),
        ("BackupService.6205", 400, Code::GenerationConflict, Some(Retry::Never)),
        ("BackupService.7009", 500, Code::UpstreamBusy, Some(Retry::Later)),
        ("BackupService.7510", 400, Code::TargetIncompatible, Some(Retry::Never)),
        ("BackupService.9910", 500, Code::UpstreamError, None),
        ("VolumeBackup.0014", 500, Code::UpstreamError, None),
        ("VolumeBackup.0041", 403, Code::UpstreamForbidden, Some(Retry::Later)),
        ("VolumeBackup.0206", 500, Code::UpstreamBusy, Some(Retry::Later)),
        ("VolumeBackup.0900", 503, Code::UpstreamUnavailable, None),
        ("APIGW.0201", 414, Code::UpstreamBadRequest, Some(Retry::Never)),
        ("APIGW.0201", 502, Code::UpstreamUnavailable, None),
        ("APIGW.0306", 403, Code::UpstreamForbidden, Some(Retry::Never)),
        ("APIG.0610", 502, Code::UpstreamUnavailable, None),
        ("IAM.0083", 403, Code::UpstreamForbidden, Some(Retry::Never)),
        ("IAM.0012", 429, Code::UpstreamThrottled, Some(Retry::Later)),
        ("IAM.1104", 400, Code::UpstreamBadRequest, Some(Retry::Never)),
    ];
    for (code, status, class, refusal) in rows {
        let body = format!(r#"{{"error_code":"{code}","error_msg":"m"}}"#);
        match (classify(&reply(status, &body)), refusal) {
            (Verdict::Refused(problem), Some(retry)) => {
                assert_eq!((problem.code, problem.retry), (class, retry), "{code}");
            }
            (Verdict::Ambiguous(problem), None) => assert_eq!(problem.code, class, "{code}"),
            (verdict, _) => panic!("{code}: {verdict:?}"),
        }
    }
}

#[test]
fn a_code_that_means_success_is_no_error_code() {
    for code in ["0", "200", "\"202\""] {
        let error = errors::read(&reply(200, &format!(r#"{{"code":{code},"message":"ok"}}"#)));
        assert_eq!((error.code, error.message.as_deref()), (None, Some("ok")), "{code}");
    }
    // it does not hide the error beside it
    let body = r#"{"code":200,"data":{"error_code":"BackupService.2010","error_msg":"busy"}}"#;
    assert_eq!(errors::read(&reply(200, body)).code.as_deref(), Some("BackupService.2010"));
    assert_eq!(errors::read(&reply(500, r#"{"code":500,"message":"m"}"#)).code.as_deref(), Some("500"));
}

#[test]
fn blanks_are_absent_and_words_without_a_code_are_kept() {
    let body = r#"{"error_code":"","error_msg":"The token must be updated."}"#;
    let error = errors::read(&reply(401, body));
    assert_eq!((error.code, error.message.as_deref()), (None, Some("The token must be updated.")));
    assert_eq!(errors::read(&reply(500, r#""""#)).message, None);
    assert_eq!(errors::read(&reply(500, r#""  ""#)).message, None);
}
