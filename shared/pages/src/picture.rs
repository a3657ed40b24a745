//! The picture of a plan: its steps in layers from left to right, each behind what it waits for.
//!
//! INVARIANT (bounded-work): beyond [`PICTURE_NODES_MAX`] steps or [`PICTURE_ARROWS_MAX`] arrows
//! there is no picture, and the steps are shown as a list.

mod layout;

use crate::{Html, tone, word, words};
use askama::Template;
use contracts::limits::{PICTURE_ARROWS_MAX, PICTURE_NODES_MAX};
use layout::{Layout, Point};

/// Characters of a step's name that a node has room for.
const NAME_COLUMNS: usize = 22;
/// The same of its operation, in smaller letters.
const OPERATION_COLUMNS: usize = 26;

/// A step of a plan.
pub struct Node<'n> {
    pub id: &'n str,
    pub operation: &'n str,
    /// As the wire names it.
    pub state: &'n str,
    /// Positions of the steps that it waits for, all of them before it.
    pub after: Vec<usize>,
}

struct Drawn {
    left: i32,
    top: i32,
    name: String,
    operation: String,
    state: String,
    class: &'static str,
    anchor: String,
}

#[derive(Template)]
#[template(path = "picture.html")]
struct Picture {
    width: i32,
    height: i32,
    summary: String,
    nodes: Vec<Drawn>,
    arrows: Vec<String>,
}

/// The picture of a plan's steps, which come in plan order. None: it would be too large.
pub fn picture(steps: &[Node<'_>]) -> Result<Option<Html>, askama::Error> {
    if steps.is_empty() || steps.len() > PICTURE_NODES_MAX {
        return Ok(None);
    }
    let after: Vec<Vec<usize>> = steps.iter().map(|step| step.after.clone()).collect();
    let arrows = layout::without_implied(&after);
    if arrows.len() > PICTURE_ARROWS_MAX {
        return Ok(None);
    }
    let Layout { places, lines, width, height } = layout::of(steps.len(), &arrows);
    let nodes = steps.iter().zip(places).map(|(step, Point { x, y })| Drawn {
        left: x,
        top: y,
        name: words::cut(step.id, NAME_COLUMNS),
        operation: words::cut(step.operation, OPERATION_COLUMNS),
        state: word(step.state),
        class: tone(step.state).class(),
        anchor: step.id.to_owned(),
    });
    let picture = Picture {
        width,
        height,
        summary: match steps.len() {
            1 => "Plan of one step and what it waits for".to_owned(),
            steps => format!("Plan of {steps} steps and what each waits for"),
        },
        nodes: nodes.collect(),
        arrows: lines.iter().map(|line| curve(line)).collect(),
    };
    Html::of(&picture).map(Some)
}

// A smooth line through points, from left to right.
fn curve(points: &[Point]) -> String {
    let Some((first, rest)) = points.split_first() else { return String::new() };
    let mut path = format!("M{} {}", first.x, first.y);
    let mut from = first;
    for to in rest {
        let middle = (from.x + to.x) / 2;
        path += &format!("C{middle} {} {middle} {} {} {}", from.y, to.y, to.x, to.y);
        from = to;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, after: Vec<usize>) -> Node<'_> {
        Node { id, operation: "crm/customer.find", state: "completed", after }
    }

    #[test]
    fn a_picture_has_each_step_and_each_arrow_that_does_not_follow() {
        let steps =
            [node("a", vec![]), node("b", vec![0]), node("c", vec![0]), node("d", vec![0, 1, 2])];
        let svg = picture(&steps).unwrap().unwrap();
        assert_eq!(svg.as_str().matches("class=\"arrow\"").count(), 4, "a to d follows");
        assert_eq!(svg.as_str().matches("href=\"#step-").count(), 4);
    }

    #[test]
    fn bounded_work_a_plan_too_large_has_no_picture() {
        let names: Vec<String> = (0..=PICTURE_NODES_MAX).map(|index| format!("s{index}")).collect();
        let chain: Vec<Node<'_>> = names
            .iter()
            .enumerate()
            .map(|(index, name)| node(name, index.checked_sub(1).into_iter().collect()))
            .collect();
        assert!(picture(&chain).unwrap().is_none());
        let most = picture(&chain[..PICTURE_NODES_MAX]).unwrap().unwrap();
        assert!(most.as_str().len() < 30_000, "{}", most.as_str().len());
        // Every step of one half before every step of the other: arrows that none implies.
        let two: Vec<Node<'_>> = names[..40]
            .iter()
            .enumerate()
            .map(|(index, name)| node(name, if index < 20 { vec![] } else { (0..20).collect() }))
            .collect();
        assert!(picture(&two).unwrap().is_none());
    }

    #[test]
    fn attack_names_of_steps_are_text_in_a_picture() {
        let bad = "\"><script>alert(1)</script>";
        let steps = [Node { id: bad, operation: bad, state: bad, after: vec![] }];
        let svg = picture(&steps).unwrap().unwrap();
        assert!(!svg.as_str().contains("<script"), "{}", svg.as_str());
    }
}
