//! What a workload would apply to its clusters, secrets hidden.

use serde_json::Value;
use threeport::json::{from_json, from_struct};
use threeport::object::Object;
use threeport::render::{self, Source};
use threeport::v1::{
    AttachmentSpec, RenderRequest, RenderResponse, RenderedInstance, Workload, WorkloadDefinition,
    WorkloadDefinitionSpec, WorkloadInstance, WorkloadInstanceSpec,
};
use uuid::Uuid;

use super::{Row, Store, Visibility, pins, read, row, statement};
use crate::error::{Error, Result};

impl Store {
    /// Renders a workload's instances, one instance, or a definition by itself.
    pub async fn render(&self, request: RenderRequest) -> Result<RenderResponse> {
        let kind = self.kind(&request.kind).await?;
        let connection = self.pool.get().await?;
        let found = read::find(&connection, &kind, &request.project, &request.name).await?;
        let instances = match kind.name.as_str() {
            WorkloadDefinition::KIND => vec![self.render_definition(&found)?],
            WorkloadInstance::KIND => vec![self.render_instance(&connection, &found).await?],
            Workload::KIND => {
                let sql = format!(
                    "SELECT {} FROM objects o WHERE o.owner_id = $1 AND o.kind = $2 ORDER BY o.name",
                    row::COLUMNS
                );
                let rows = statement::query(&connection, &sql, &[&found.id, &WorkloadInstance::KIND]).await?;
                let mut rendered = Vec::new();
                for row in &rows {
                    rendered.push(self.render_instance(&connection, &Row::from(row)).await?);
                }
                rendered
            }
            other => {
                let wanted =
                    format!("a {other} isn't rendered; name a workload, workload-instance or workload-definition");
                return Err(Error::invalid("kind", wanted));
            }
        };
        Ok(RenderResponse { instances })
    }

    fn render_definition(&self, row: &Row) -> Result<RenderedInstance> {
        let spec: WorkloadDefinitionSpec = self.spec(row)?;
        let mut resources = render::parse_manifest(&spec.manifest).map_err(Error::Invalid)?;
        render::join_secrets(&mut resources, &spec.secret_data);
        render::order(&mut resources);
        Ok(RenderedInstance {
            object: Some(row.reference()),
            namespace: String::new(),
            manifest: render::to_yaml(&resources),
        })
    }

    async fn render_instance(&self, client: &deadpool_postgres::Client, instance: &Row) -> Result<RenderedInstance> {
        let spec: WorkloadInstanceSpec = self.spec(instance)?;
        let definition = self.definition_of(client, instance).await?;
        let attachments = self.attachments_of(client, instance.id).await?;
        let resources = render::parse_manifest(&definition.manifest).map_err(Error::Invalid)?;
        let namespaces = render::manifest_namespaces(&resources);
        let namespace = render::default_namespace(&instance.name, instance.id, &spec.namespace, &namespaces);
        let source = Source {
            definition: &definition,
            instance: &spec,
            name: &instance.name,
            namespace: &namespace,
            attachments: &attachments,
            images: &[],
        };
        let resources = render::render(&source).map_err(Error::Invalid)?;
        let manifest = render::to_yaml(&resources);
        Ok(RenderedInstance { object: Some(instance.reference()), namespace, manifest })
    }

    /// The definition's spec at the generation that the instance runs.
    async fn definition_of(
        &self,
        client: &deadpool_postgres::Client,
        instance: &Row,
    ) -> Result<WorkloadDefinitionSpec> {
        let sql = format!(
            "SELECT {} FROM object_refs r JOIN objects o ON o.id = r.to_id WHERE r.from_id = $1 AND o.kind = $2",
            row::COLUMNS
        );
        let found = statement::query_opt(client, &sql, &[&instance.id, &pins::DEFINITION]).await?;
        let mut definition = found
            .as_ref()
            .map(Row::from)
            .ok_or_else(|| Error::Corrupt(format!("{} has no definition", instance.id)))?;
        if let Some(generation) = pins::pin(&instance.kind, &instance.spec) {
            let sql = "SELECT spec FROM pinned_generations WHERE definition_id = $1 AND generation = $2";
            if let Some(pinned) = statement::query_opt(client, sql, &[&definition.id, &generation]).await? {
                definition.spec = pinned.get("spec");
            }
        }
        self.spec(&definition)
    }

    async fn attachments_of(
        &self,
        client: &deadpool_postgres::Client,
        instance: Uuid,
    ) -> Result<Vec<(String, AttachmentSpec)>> {
        let sql = format!(
            "SELECT {} FROM object_refs r JOIN objects o ON o.id = r.from_id
             WHERE r.to_id = $1 AND o.kind = $2 AND o.deleted_at IS NULL ORDER BY o.name",
            row::COLUMNS
        );
        let rows = statement::query(client, &sql, &[&instance, &super::delete::ATTACHMENT]).await?;
        rows.iter().map(Row::from).map(|row| Ok((row.name.clone(), self.spec(&row)?))).collect()
    }

    /// A typed spec, its secrets hidden.
    fn spec<M: prost::Message + prost::Name + Default>(&self, row: &Row) -> Result<M> {
        let object = self.object(row, None, true, Visibility::Redacted)?;
        let spec = object.spec.map_or(Value::Null, from_struct);
        from_json(spec).map_err(|error| Error::Corrupt(format!("{}: {error}", row.id)))
    }
}
