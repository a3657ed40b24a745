//! From nothing to a skill of one's own under a policy of one's own.

use crate::kit::{Process, cli_as};
use local::demo_tools::DemoTools;

// The README's walk: from nothing to a skill that somebody trusted signed, under a policy of one's
// own.
#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn from_skill_init_to_a_policy_that_denies() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let desk = folder.path().join("desk");
        std::fs::create_dir(&desk).unwrap();
        let tools = DemoTools::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let process = Process::start(&folder.path().join("data"));
        tools.trust(&process.url());
        let run = |key: &str, code: i32, args: &[&str]| {
            let (found, text) = cli_as(&process, key, &desk, args);
            assert_eq!(found, code, "{args:?}: {text}");
            text
        };
        let (agent, person) = ("apiKey", "approverKey");
        run(agent, 0, &["skill", "init", "notes", "--publisher", "acme"]);
        run(agent, 2, &["skill", "init", "notes"]); // nothing is overwritten
        let manifest = std::fs::read_to_string(desk.join("notes/skill.json")).unwrap();
        std::fs::write(
            desk.join("notes/skill.json"),
            manifest.replace("http://127.0.0.1:7412", &tools.url()),
        )
        .unwrap();
        run(agent, 0, &["keys", "generate", "--out", "acme.key"]);
        run(agent, 2, &["keys", "generate", "--out", "acme.key"]);
        run(agent, 0, &["skill", "sign", "notes", "--with", "acme.key"]);
        let bundle = "notes-0.1.0.skill.json";
        assert!(run(person, 1, &["skill", "verify", bundle]).contains("PUBLISHER_UNTRUSTED"));
        assert!(run(person, 1, &["skill", "install", bundle]).contains("PUBLISHER_UNTRUSTED"));
        let trust =
            ["trust", "add", "acme", "--public", "acme.key.pub", "--provenance", "local/acme"];
        assert!(run(agent, 1, &trust).contains("FORBIDDEN"), "an agent trusts nobody");
        run(person, 0, &trust);
        run(person, 0, &["skill", "verify", bundle]);
        assert!(
            run(agent, 1, &["skill", "install", bundle]).contains("FORBIDDEN"),
            "an agent \
            installs nothing"
        );
        run(person, 0, &["skill", "install", bundle]);
        assert!(run(person, 0, &["skill", "list"]).contains("note.add"));
        let draft = r#"{"steps":[{"id":"note","use":"notes/note.add","with":{"text":"hello"}}]}"#;
        std::fs::write(desk.join("draft.json"), draft).unwrap();
        assert!(
            run(agent, 0, &["submit", "Take a note", "--draft", "draft.json", "--watch"])
                .contains("completed")
        );
        std::fs::write(
            desk.join("baseline.cedar"),
            run(agent, 0, &["policy", "template", "baseline"]),
        )
        .unwrap();
        let own = "@id(\"no-notes\")\nforbid (principal, action == Action::\"notes/note.add\", \
            resource)\nwhen { principal.kind == \"agent\" };\n";
        std::fs::write(desk.join("own.cedar"), own).unwrap();
        let tested = run(person, 0, &["policy", "backtest", "baseline.cedar", "own.cedar"]);
        assert!(tested.contains("autonomous → blocked"), "{tested}");
        let activated = run(person, 0, &["policy", "activate", "baseline.cedar", "own.cedar"]);
        assert!(
            activated.contains("version 2 is active")
                && activated.contains(
                    "autonomous → \
            blocked"
                ),
            "{activated}"
        );
        assert!(
            run(agent, 1, &["submit", "Take a note", "--draft", "draft.json", "--watch"])
                .contains("rejected")
        );
        let why = run(agent, 0, &["explain", "--draft", "draft.json"]);
        assert!(why.contains("forbid no-notes own.cedar:1"), "{why}");
        assert_eq!(tools.effects("notes/note.add").len(), 1);
        assert!(
            run(
                person,
                0,
                &[
                    "freeze",
                    "set",
                    "skill",
                    "notes",
                    "--reason",
                    "incident \
            7"
                ]
            )
            .contains("incident 7")
        );
        assert!(run(person, 0, &["freeze", "lift", "skill", "notes"]).contains(
            "nothing is \
            frozen"
        ));
        assert!(run(person, 0, &["trust", "remove", "acme"]).contains("revoked notes 0.1.0"));
        assert!(run(person, 0, &["skill", "list", "--all"]).contains("revoked"));
        assert_eq!(
            run(agent, 0, &["policy", "template"]).lines().count(),
            policy::TEMPLATES.len() + 1
        );
    });
}
