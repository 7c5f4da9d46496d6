//! OpenAPI: what stands there is what is answered.

use serde_json::Value;

use crate::common::{HELP, SHOP, World};

/// Checks a value against a schema of the document: as much of JSON Schema as the document uses.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/components/schemas/").unwrap();
        return check(document, &document["components"]["schemas"][name], value, at);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().for_each(|part| check(document, part, value, at));
    }
    if let Some(any) = schema["oneOf"].as_array() {
        let null = any.iter().any(|s| s["type"] == "null");
        if value.is_null() {
            assert!(null, "{at} is null");
            return;
        }
        let others: Vec<_> = any.iter().filter(|s| s["type"] != "null").collect();
        assert_eq!(others.len(), 1, "{at}: {schema}");
        return check(document, others[0], value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|k| k == kind),
        one => one == kind,
    };
    assert!(allowed, "{at} is {kind}: {schema}");
    if let Some(names) = schema["enum"].as_array() {
        assert!(names.contains(value), "{at}: {value}");
    }
    if let Some(items) = value.as_array() {
        items.iter().for_each(|item| check(document, &schema["items"], item, &format!("{at}[]")));
    }
    if let Some(fields) = value.as_object() {
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(fields.contains_key(required.as_str().unwrap()), "{at} lacks {required}");
        }
        for (name, field) in fields {
            let inner = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Object(_)) => {
                    check(document, &schema["additionalProperties"], field, &inner)
                }
                (Value::Null, Value::Bool(false)) => panic!("{inner} is not in the document"),
                (Value::Null, _) => assert!(
                    at.contains("allOf") || schema["properties"].is_null() || is_part(schema),
                    "{inner}"
                ),
                (known, _) => check(document, known, field, &inner),
            }
        }
    }
}

/// A schema that is put together with others does not name all fields.
fn is_part(schema: &Value) -> bool {
    schema["additionalProperties"].is_null()
}

#[test]
fn answers_are_as_the_document_says() {
    let world = World::new();
    let service = world.serve();
    let admin = service.admin();
    let document = admin.get("/openapi.json").json();
    assert_eq!(
        document,
        serde_json::from_str::<Value>(&reelvault_replay::openapi().unwrap()).unwrap()
    );
    let (id, chat) =
        (world.session(SHOP), world.of(HELP).iter().find(|r| r.is_chat()).unwrap().session.clone());
    let one = "/v1/sites/{site}/sessions/{session}";
    admin.post(&format!("/v1/sites/{SHOP}/sessions/{id}/hold"), "{\"reason\":\"x\"}");
    for (pattern, path) in [
        ("/auth/methods", "/auth/methods".to_owned()),
        ("/v1/me", "/v1/me".into()),
        ("/v1/sites", "/v1/sites".into()),
        ("/v1/sites/{site}/sessions", format!("/v1/sites/{SHOP}/sessions")),
        (one, format!("/v1/sites/{SHOP}/sessions/{id}")),
        (&format!("{one}/transcript"), format!("/v1/sites/{HELP}/sessions/{chat}/transcript")),
        ("/v1/sites/{site}/audit", format!("/v1/sites/{SHOP}/audit")),
        ("/v1/status", "/v1/status".into()),
    ] {
        let reply = admin.get(&path);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let schema = &document["paths"][pattern]["get"]["responses"]["200"]["content"]["application/json"]
            ["schema"];
        assert!(!schema.is_null(), "{pattern} is not in the document");
        check(&document, schema, &reply.json(), pattern);
    }
    let problem = service.client().get("/v1/me").json();
    check(&document, &document["components"]["schemas"]["ProblemBody"], &problem, "problem");
}

#[test]
fn every_path_of_the_document_is_there_and_guarded_as_it_says() {
    let world = World::new();
    let service = world.serve();
    let document: Value = serde_json::from_str(&reelvault_replay::openapi().unwrap()).unwrap();
    let mut operations = 0;
    for (pattern, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            operations += 1;
            let path =
                pattern.replace("{site}", SHOP).replace("{session}", "x").replace("{id}", "x");
            let reply = service.client().send(
                &method.to_uppercase(),
                &path,
                (method == "post").then_some("{}"),
            );
            assert_ne!(reply.status, 405, "{method} {pattern}");
            let guarded = !operation["security"].is_null();
            assert_eq!(
                guarded,
                pattern.starts_with("/v1/") && pattern != "/v1/status",
                "{pattern}"
            );
            assert_eq!(
                reply.status == 401,
                guarded || pattern.starts_with("/auth/l") && reply.status == 401,
                "{method} {pattern}: {reply:?}"
            );
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].as_str().is_some_and(|d| !d.is_empty()));
            }
        }
    }
    assert_eq!(operations, 24);
}

#[test]
fn figures_are_for_this_machine_and_for_who_has_the_token() {
    let world = World::new();
    common_token(&world);
    let service = world.serve_with("[metrics]\ntoken_file = \"metrics.token\"\n");
    let viewer = service.with_token(SHOP, &["viewer"]);
    let id = world.session(SHOP);
    viewer.with("accept-encoding", "zstd").get(&format!("/v1/sites/{SHOP}/sessions/{id}/events"));
    assert_eq!(viewer.get("/metrics").status, 401);
    let right = service.client().with("authorization", "Bearer 0123456789abcdef0123");
    let text = right.get("/metrics").text();
    for name in [
        "reelvault_requests_total{",
        "reelvault_request_duration_seconds_bucket{",
        "reelvault_sent_bytes_total",
        "reelvault_replayed_frames_total{kind=\"as_stored\"}",
        "reelvault_backup_age_seconds",
        "reelvault_archive_backlog_bytes",
        "reelvault_oldest_unverified_seconds",
        "reelvault_scrub_progress_ratio",
        "reelvault_retention_overdue_days",
        "reelvault_poisoned_shards",
        "reelvault_check_ok{kind=\"integrity\"} 1",
        "# EOF",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    assert!(text.contains("route=\"/v1/sites/{site}/sessions/{session}/events\""));
    for secret in [id.as_str(), SHOP, "robot-1"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let mut plain = std::net::TcpStream::connect(service.running.metrics().unwrap()).unwrap();
    std::io::Write::write_all(&mut plain, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut plain, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("# EOF\n"));
    drop(service);
    let without = world.serve();
    assert_eq!(without.client().get("/metrics").status, 404);
}

fn common_token(world: &World) {
    std::fs::write(world.path().join("metrics.token"), "0123456789abcdef0123\n").unwrap();
}

/// Both found by schemathesis (`tools/replay/schema-test`).
#[test]
fn what_is_nowhere_is_not_found_and_a_wrong_method_is_told_the_right_ones() {
    let world = World::new();
    let service = world.serve();
    let admin = service.admin();
    for end in ["events", "transcript", "export"] {
        let reply = admin.get(&format!("/v1/sites/nowhere.example/sessions/0/{end}"));
        assert_eq!(reply.status, 404, "{end}: {reply:?}");
    }
    assert_eq!(admin.post("/v1/sites/nowhere.example/sessions/0/erase", "").status, 404);
    assert_eq!(admin.get("/v1/sites/nowhere.example/audit").status, 404);
    assert_eq!(admin.get("/v1/sites/nowhere.example/export").status, 404);
    let reply = admin.post("/healthz", "");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET,HEAD")));
    let reply = service.client().post("/v1/me", "");
    assert_eq!((reply.status, reply.header("allow")), (401, None));
}
