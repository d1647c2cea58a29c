//! `ultrakv node`: members that join, drain, leave or are forgotten.

use serde_json::json;
use ultrakv_cluster::{JoinReport, LayoutReport, NodeId};

use super::cluster::{begun, client, layout, options, print_layout};
use crate::args::{NodeCommand, NodeDrainArguments, NodeJoinArguments, Output};
use crate::client::NodeClient;
use crate::exit::{Failure, Status};
use crate::output;

/// Asks for one of them.
pub(super) async fn run(command: &NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Join(arguments) => join(arguments).await,
        NodeCommand::Drain(arguments) => drain(arguments).await,
        NodeCommand::Leave(arguments) => {
            let client = client(&arguments.reach)?;
            let node = member(&client, arguments.node.as_deref()).await?;
            gone(&client, node, "leave", arguments.reach.output).await
        }
        NodeCommand::Forget(arguments) => {
            let client = client(&arguments.reach)?;
            let node = member(&client, Some(&arguments.node)).await?;
            gone(&client, node, "forget", arguments.reach.output).await
        }
    }
}

async fn join(arguments: &NodeJoinArguments) -> Result<(), Failure> {
    let client = client(&arguments.reach)?;
    let body = json!({"seeds": arguments.seeds});
    let joined: JoinReport = client.post("/v1/node/join", &body).await?.granted()?;
    let format = arguments.reach.output;
    let told = format!(
        "{} is a member of {}, which has {} now",
        joined.node_id, joined.cluster, joined.members
    );
    match joined.job.clone() {
        // What is waited for is the job, so that is what is printed; the rest is a remark.
        Some(job) if arguments.wait => {
            output::note(&told);
            begun(&client, job, true, format).await
        }
        _ => output::result(format, &joined, || output::data(&told)),
    }
}

async fn drain(arguments: &NodeDrainArguments) -> Result<(), Failure> {
    let client = client(&arguments.reach)?;
    let node = member(&client, arguments.node.as_deref()).await?;
    let mut body = options(&arguments.job);
    if let Some(fields) = body.as_object_mut() {
        fields.insert("leave".to_owned(), arguments.leave.into());
    }
    let answer = client
        .post(&format!("/v1/nodes/{node}/drain"), &body)
        .await?;
    let format = arguments.reach.output;
    begun(&client, answer.granted()?, arguments.job.wait, format).await
}

async fn gone(client: &NodeClient, node: NodeId, how: &str, format: Output) -> Result<(), Failure> {
    let answer = client
        .post(&format!("/v1/nodes/{node}/{how}"), &json!({}))
        .await?;
    print_layout(&answer.granted()?, format)
}

/// The member that is meant.
async fn member(client: &NodeClient, asked: Option<&str>) -> Result<NodeId, Failure> {
    match asked.and_then(NodeId::parse) {
        Some(id) => Ok(id),
        None => pick(&layout(client).await?, asked),
    }
}

/// The asked node itself, or the one member of that name.
fn pick(layout: &LayoutReport, asked: Option<&str>) -> Result<NodeId, Failure> {
    let Some(name) = asked else {
        return Ok(layout.node_id);
    };
    let mut named = layout.nodes.iter().filter(|node| node.name == name);
    match (named.next(), named.next()) {
        (Some(node), None) => Ok(node.node_id),
        (Some(_), Some(_)) => {
            let message = format!("several members are called {name}");
            Err(Failure::new(Status::Usage, message)
                .hint("name it by its id; `ultrakv cluster layout` lists them"))
        }
        (None, _) => {
            let message = format!("no member is called {name}, and it is no id either");
            Err(Failure::new(Status::Usage, message)
                .hint("`ultrakv cluster layout` lists the members with their names and ids"))
        }
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_cluster::NodeLayout;
    use ultrakv_cluster::metadata::MemberState;

    use super::*;

    #[test]
    fn a_member_is_meant_by_its_name_where_no_other_has_it() {
        let node = |number, name: &str| NodeLayout {
            node_id: NodeId::from_u128(number),
            name: name.to_owned(),
            zone: String::new(),
            state: MemberState::Up,
            quota: 0,
            owned: 0,
            followers: 0,
            target_owned: 0,
            unsettled: 0,
        };
        let layout = LayoutReport {
            node_id: NodeId::from_u128(2),
            plan: 1,
            unsettled: 0,
            nodes: vec![node(1, "a"), node(2, "b"), node(3, "b")],
        };
        let picked = |asked| pick(&layout, asked).map_err(|failure| failure.status);
        assert_eq!(picked(None), Ok(NodeId::from_u128(2)));
        assert_eq!(picked(Some("a")), Ok(NodeId::from_u128(1)));
        assert_eq!(picked(Some("b")), Err(Status::Usage));
        assert_eq!(picked(Some("c")), Err(Status::Usage));
    }
}
