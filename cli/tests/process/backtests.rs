//! Backtests as reports.

use crate::kit::{Client, Process, cli_as, install, trust};
use local::demo_tools::DemoTools;
use serde_json::{Value, json};

const CANDIDATE: &str = r#"@id("no-mail") @reason("=HYPERLINK(\"http://x.org\",\"<b>x</b>\")")
forbid (principal, action == Action::"mail/message.send", resource);
permit (principal, action, resource) when { context.mode == "assist" };
"#;

#[test]
fn a_backtest_is_written_for_people_spreadsheets_machines_and_to_be_kept() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let desk = folder.path().join("desk");
        std::fs::create_dir(&desk).unwrap();
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let process = Process::start(&folder.path().join("data"));
        let client = Client::new(&process, "apiKey");
        trust(&process, &tools).await;
        for manifest in tools.manifests().unwrap() {
            install(&client.person(&process), &manifest).await;
        }
        let find = json!({ "id": "who", "use": "crm/customer.find",
            "with": { "email": "ada@x.org" } });
        let mail = json!({ "id": "tell", "use": "mail/message.send",
            "with": { "to": ["a@x.org", "b@x.org"], "subject": "s", "body": "b" } });
        for _ in 0..2 {
            let draft = json!({ "steps": [find, mail] });
            let body = json!({ "text": "x", "mode": "dryRun", "draft": draft });
            let (_, answer) = client.send("POST", "/v1/intents", None, Some(&body)).await.unwrap();
            let id = answer["executionId"].as_str().unwrap().to_owned();
            client.get(&format!("/v1/executions/{id}?waitSeconds=10")).await.unwrap();
        }
        std::fs::write(desk.join("own.cedar"), CANDIDATE).unwrap();
        let run = |code: i32, args: &[&str]| {
            let all = [&["policy", "backtest", "own.cedar"][..], args].concat();
            let (found, text) = cli_as(&process, "approverKey", &desk, &all);
            assert_eq!(found, code, "{args:?}: {text}");
            text
        };
        let written = |name: &str| std::fs::read_to_string(desk.join(name)).unwrap();

        let text = run(0, &[]);
        assert!(text.contains("affected: 2 executions, 4 steps, 1 actor, 4 recipients"), "{text}");
        assert!(
            text.contains("autonomous → blocked\n    2 executions, 2 steps, 1 actor"),
            "{text}"
        );
        run(0, &["--out", "report.txt"]);
        assert_eq!(written("report.txt"), text, "where there is no terminal it is the same");

        let answer: Value = serde_json::from_str(&run(0, &["--json"])).unwrap();
        assert_eq!(answer["impact"]["executions"], 2, "{answer}");
        assert_eq!(answer["impact"]["byChange"][0]["touched"]["recipients"], 4, "{answer}");
        run(0, &["--format", "json", "--out", "report.json"]);
        let kept: Value = serde_json::from_str(&written("report.json")).unwrap();
        assert_eq!(kept["impact"], answer["impact"]);

        let csv = run(0, &["--format", "csv"]);
        let lines: Vec<&str> = csv.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 5, "{csv}");
        assert!(lines[0].starts_with("\"executionId\",\"stepId\""), "{csv}");
        let mails = csv.matches("\"'=HYPERLINK(\"\"http://x.org\"\",").count();
        assert!(mails == 2 && !csv.contains("\"=") && !csv.contains(",="), "{csv}");

        assert_eq!(run(0, &["--format", "html", "--out", "report.html"]), "");
        let page = written("report.html");
        for part in ["Backtest of own.cedar", "<b>4</b>steps", "mail/message.send", "&#60;b&#62;"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        for foreign in ["<script", "src=", "url(", "@import", "<b>x</b>"] {
            assert!(!page.contains(foreign), "{foreign}: {page}");
        }

        run(2, &["--json", "--format", "csv"]);
        run(2, &["--format", "pdf"]);
        run(2, &["--format", "csv", "--out", "no/such/folder/file"]);
    });
}
