import Agent
import Model
import Vault

/// Restores that the server has ordered on this machine, as an agent tells of them.
struct AgentRestoresView {
    private let rows: [JSONFields]
    /// What the server may have restored here; `nil` for an agent without a server.
    private let allowed: String?

    init(_ status: JSONFields) throws {
        rows =
            try status.has("restores")
            ? status.array("restores", atMost: 1_000).map {
                try JSONFields($0, document: "a restore of the agent's answer")
            } : []
        allowed = status.has("allowed") ? try status.string("allowed") : nil
    }

    func fields() throws -> [String: JSON] {
        guard let allowed else { return [:] }
        let list = try rows.map { row -> JSON in
            var fields: [String: JSON] = [
                "order": .string(try row.string("order")), "owner": .string(try row.string("owner")),
                "state": .string(try row.string("state")), "path": .string(try row.string("path")),
                "paths": .count(try row.integer("paths", in: 0...Int64.max)),
                "in_place": .bool(try row.boolean("in_place")),
            ]
            if row.has("bytes") {
                fields["bytes"] = .count(try row.integer("bytes", in: 0...Int64.max))
                fields["total_bytes"] = .count(try row.integer("total_bytes", in: 0...Int64.max))
            }
            return .object(fields)
        }
        return ["restores": .array(list), "restores_allowed": .string(allowed)]
    }

    func show(_ console: Console) throws {
        guard let allowed else { return }
        for row in rows {
            let count = try row.integer("paths", in: 0...Int64.max)
            let what = try row.string("path") + (count > 1 ? " and \(Units.count(count - 1)) more" : "")
            let place = try row.boolean("in_place") ? "in place" : "into a folder"
            let origin = try row.boolean("elsewhere") ? ", of another machine" : ""
            try console.line(
                "Restore \(try row.string("order").prefix(8)), ordered by \(TreePath.display(try row.string("owner").utf8)): "
                    + "\(what), \(place)\(origin): \(try words(row))")
        }
        if !rows.isEmpty { try console.line("`holdfast agent refuse` stops or refuses them.") }
        try console.line("The server may have restored here: \(allowed).")
    }

    private func words(_ row: JSONFields) throws -> String {
        switch try row.string("state") {
        case "planned": return "planned; waits until somebody agrees."
        case "running":
            guard row.has("bytes") else { return "running." }
            let bytes = UInt64(try row.integer("bytes", in: 0...Int64.max))
            let total = UInt64(try row.integer("total_bytes", in: 0...Int64.max))
            return total > 0 ? "\(Units.size(bytes)) of \(Units.size(total))." : "\(Units.size(bytes)) so far."
        case let state: return "\(state)."
        }
    }
}
