//! `countersign-prove`: what holds of a policy set for every request there can be, by Cedar's
//! symbolic compiler and the solver cvc5 (`CVC5`, or on the PATH). `countersign policy prove` runs
//! it with the schema of a workspace.
//!
//! Proven, or refuted by a request that Cedar itself evaluates again:
//! 1. no policy errs;
//! 2. high and blocked risk is never permitted in mode `autonomous` (what the floor in code holds
//!    anyway);
//! 3. with `--than`: nothing is permitted that the other set does not permit.
//!
//! With `--mandate`, a set of its own: whatever it permits in mode `assist`, the policy set
//! permits, so that people could have approved it.
//!
//! Exit codes: 0 proven; 1 refuted; 2 wrong usage; 3 the solver is missing or failed.

use cedar_policy::{PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::{
    CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env, solver::LocalSolver,
};
use std::{path::Path, process::ExitCode};

/// A set that permits just what must never be permitted.
const DANGER: &str = r#"permit (principal, action, resource)
when { context.mode == "autonomous" && (context.tier == "high" || context.tier == "blocked") };"#;

/// Leaves of a set what people are asked.
const PEOPLE: &str = r#"forbid (principal, action, resource)
unless { context.mode == "assist" };"#;

/// What is asked, or why it cannot be.
struct Question {
    schema: Schema,
    candidate: PolicySet,
    than: Option<PolicySet>,
    mandate: Option<PolicySet>,
}

enum Failed {
    Usage(String),
    Solver(String),
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(3, &error.to_string()),
    };
    let outcome = match question() {
        Ok(question) => runtime.block_on(prove(&question)),
        Err(failed) => Err(failed),
    };
    match outcome {
        Ok(refuted) => ExitCode::from(u8::from(refuted)),
        Err(Failed::Usage(why)) => fail(2, &why),
        Err(Failed::Solver(why)) => fail(3, &why),
    }
}

fn fail(code: u8, why: &str) -> ExitCode {
    eprintln!("countersign-prove: {why}");
    ExitCode::from(code)
}

fn question() -> Result<Question, Failed> {
    let (mut schema, mut than, mut mandate, mut files) = (None, None, None, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value =
            || args.next().ok_or_else(|| Failed::Usage(format!("`{arg}` wants a file")));
        match arg.as_str() {
            "--schema" => schema = Some(value()?),
            "--than" => than = Some(value()?),
            "--mandate" => mandate = Some(value()?),
            _ => files.push(arg),
        }
    }
    let (Some(schema), false) = (schema, files.is_empty()) else {
        let usage = "--schema <Cedar JSON schema> [--than <set> | --mandate <set>] <set>...";
        return Err(Failed::Usage(usage.into()));
    };
    let text = |file: &String| {
        std::fs::read_to_string(Path::new(file))
            .map_err(|error| Failed::Usage(format!("{file}: {error}")))
    };
    let set =
        |text: String| text.parse::<PolicySet>().map_err(|error| Failed::Usage(error.to_string()));
    let candidate = files.iter().map(text).collect::<Result<Vec<_>, _>>()?.join("\n");
    Ok(Question {
        schema: Schema::from_json_str(&text(&schema)?)
            .map_err(|error| Failed::Usage(error.to_string()))?,
        candidate: set(candidate)?,
        than: than.as_ref().map(text).transpose()?.map(set).transpose()?,
        mandate: mandate.as_ref().map(text).transpose()?.map(set).transpose()?,
    })
}

// The solver, by its path in `CVC5`, else on the PATH.
fn compiler() -> Result<CedarSymCompiler<LocalSolver>, Failed> {
    if std::env::var_os("CVC5").is_none() {
        // SAFETY: nothing else runs yet in this process.
        #[expect(
            unsafe_code,
            reason = "the library reads the path of the solver from the environment only"
        )]
        unsafe {
            std::env::set_var("CVC5", "cvc5");
        }
    }
    let process = LocalSolver::cvc5().map_err(|error| {
        Failed::Solver(format!(
            "the solver cvc5 cannot be run ({error}): install it, or say in CVC5 where it is"
        ))
    })?;
    CedarSymCompiler::new(process).map_err(solver)
}

fn solver(error: cedar_policy_symcc::err::Error) -> Failed {
    Failed::Solver(error.to_string())
}

// Whether anything was refuted.
async fn prove(question: &Question) -> Result<bool, Failed> {
    let mut compiler = compiler()?;
    let (mut refuted, mut environments) = (false, 0);
    for environment in question.schema.request_envs() {
        environments += 1;
        refuted |= match &question.mandate {
            Some(mandate) => refute_mandate(&mut compiler, question, mandate, &environment).await?,
            None => refute_set(&mut compiler, question, &environment).await?,
        };
    }
    if !refuted {
        for what in proven(question) {
            println!("proven for every request of {environments} operations: {what}");
        }
    }
    Ok(refuted)
}

fn proven(question: &Question) -> Vec<&'static str> {
    if question.mandate.is_some() {
        return vec!["the mandate covers nothing that people could not approve"];
    }
    let than = question.than.as_ref().map(|_| "no more is permitted than before");
    let always = ["no policy errs", "high risk is never autonomous"];
    always.into_iter().chain(than).collect()
}

async fn refute_set(
    compiler: &mut CedarSymCompiler<LocalSolver>,
    question: &Question,
    environment: &RequestEnv,
) -> Result<bool, Failed> {
    let compiled = |set: &PolicySet| {
        CompiledPolicySet::compile(set, environment, &question.schema).map_err(solver)
    };
    let danger: PolicySet = DANGER.parse().map_err(|_| Failed::Usage("our own policy".into()))?;
    let candidate = compiled(&question.candidate)?;
    let mut refuted = false;
    for policy in question.candidate.policies() {
        let one = CompiledPolicy::compile(policy, environment, &question.schema).map_err(solver)?;
        let found =
            compiler.check_never_errors_with_counterexample_opt(&one).await.map_err(solver)?;
        let name = policy.annotation("id").map_or_else(|| policy.id().to_string(), str::to_owned);
        refuted |= refutes(environment, &format!("`{name}` errs"), found);
    }
    let found = compiler
        .check_disjoint_with_counterexample_opt(&candidate, &compiled(&danger)?)
        .await
        .map_err(solver)?;
    refuted |= refutes(environment, "high risk is permitted without people", found);
    if let Some(than) = &question.than {
        let found = compiler
            .check_implies_with_counterexample_opt(&candidate, &compiled(than)?)
            .await
            .map_err(solver)?;
        refuted |= refutes(environment, "more is permitted than before", found);
    }
    Ok(refuted)
}

async fn refute_mandate(
    compiler: &mut CedarSymCompiler<LocalSolver>,
    question: &Question,
    mandate: &PolicySet,
    environment: &RequestEnv,
) -> Result<bool, Failed> {
    let compiled = |set: &PolicySet| {
        CompiledPolicySet::compile(set, environment, &question.schema).map_err(solver)
    };
    let people: PolicySet = PEOPLE.parse().map_err(|_| Failed::Usage("our own policy".into()))?;
    // What the mandate covers in any other mode is asked of nobody.
    let asked = with(mandate, &people)?;
    let found = compiler
        .check_implies_with_counterexample_opt(&compiled(&asked)?, &compiled(&question.candidate)?)
        .await
        .map_err(solver)?;
    Ok(refutes(environment, "the mandate covers what people could not approve", found))
}

// Both sets as one.
fn with(one: &PolicySet, other: &PolicySet) -> Result<PolicySet, Failed> {
    let usage = |error: String| Failed::Usage(error);
    let mut both = PolicySet::new();
    for (index, policy) in one.policies().chain(other.policies()).enumerate() {
        let id = format!("policy{index}").parse().map_err(|_| usage("an id".into()))?;
        both.add(policy.new_id(id)).map_err(|error| usage(error.to_string()))?;
    }
    Ok(both)
}

// A counterexample, as people read it.
fn refutes(environment: &RequestEnv, what: &str, found: Option<Env>) -> bool {
    let Some(example) = found else { return false };
    println!("refuted for {}: {what}", environment.action());
    for line in example.to_string().lines() {
        println!("  {line}");
    }
    true
}
