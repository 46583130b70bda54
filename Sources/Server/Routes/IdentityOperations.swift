import Catalog
import Client
import Model
import Vault

/// Who the server is, how it is, and what it can be asked.
enum IdentityOperations {
    static let all: [Operation] = [
        Operation(
            "GET", "/api/v1/identity",
            "Who this server is: its identity key, its certificate, its vault and its clock.",
            tag: "server", access: .open, response: .json("Identity")
        ) { core, _ in .json(core.description.encoded()) },
        Operation(
            "GET", "/api/openapi.json", "This description.", tag: "server", access: .open, response: .json("OpenAPI")
        ) { _, _ in .json(OpenAPI.document(Operation.all)) },
        Operation(
            "GET", "/health", "Whether the server can do its work: 200 when it can.", tag: "server", access: .open,
            response: .json("Health"), failures: [(503, "The vault or the database cannot be used.")]
        ) { core, _ in
            _ = try core.catalog.setting("health")
            _ = try core.vault.points(PointQuery(newest: 1))
            return .json(JSONValue.object(["status": .string("ok")]).encoded())
        },
    ]
}
