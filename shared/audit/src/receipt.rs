//! The receipt of one step: its signature, and that the end of its execution stands in the log.

use crate::{
    Options,
    log::note_refused,
    report::{Code, Report},
};
use contracts::{
    Stream,
    evidence::{LogProof, Receipt, SignedReceipt},
    json,
};
use cs_core::{
    receipt::{self, ReceiptError},
    transparency::{Checkpoint, check_inclusion},
};

/// None: it is no receipt. A receipt may also stand alone, as the text that is signed.
pub(crate) fn check(bytes: &[u8], options: &Options) -> Option<Report> {
    let SignedReceipt { receipt: signed, proof } = match json::decode(bytes) {
        Ok(signed) => signed,
        Err(_) => {
            let text = std::str::from_utf8(bytes).ok()?.trim();
            let dots = text.bytes().filter(|byte| *byte == b'.').count();
            let receipt = (dots == 2 && text.starts_with("ey")).then(|| text.to_owned())?;
            SignedReceipt { receipt, proof: None }
        }
    };
    let mut report = Report::default();
    let receipt = match receipt::open(&signed, &options.keys) {
        Ok(receipt) => receipt,
        Err(error) => {
            let code = match error {
                ReceiptError::UnknownKey => Code::UnknownKey,
                ReceiptError::Forged => Code::Forged,
                ReceiptError::Malformed | ReceiptError::Algorithm => Code::Unreadable,
            };
            report.add(code, "receipt", error.to_string());
            return Some(report);
        }
    };
    report.checked.workspaces.insert(receipt.ws.to_string());
    if let Some(proof) = &proof {
        check_proof(&receipt, proof, options, &mut report);
    }
    report.checked.receipt = Some(receipt);
    Some(report)
}

fn check_proof(receipt: &Receipt, proof: &LogProof, options: &Options, report: &mut Report) {
    let LogProof { leaf, index, path, checkpoint } = proof;
    if leaf.stream != Stream::Trace(receipt.exe.clone()) || leaf.seq < receipt.seq {
        let message = format!("it is of {} event {}", leaf.stream, leaf.seq);
        report.add(Code::ReceiptChanged, "proof", message);
    } else if leaf.seq == receipt.seq && leaf.hash != receipt.evt {
        let message = "the end of the execution is another event than the one of the receipt";
        report.add(Code::ReceiptChanged, "proof", message);
    }
    match Checkpoint::open(checkpoint, &receipt.ws, &options.keys) {
        Err(error) => note_refused(report, "checkpoint", &error),
        Ok(opened) => {
            report.checked.entries += 1;
            report.checked.checkpoints.push(format!("{} {}", receipt.ws, opened.size));
            if check_inclusion(leaf, *index, path, &opened).is_err() {
                let message = "the proof does not lead to the root of the checkpoint";
                report.add(Code::LogChanged, "proof", message);
            }
        }
    }
}
