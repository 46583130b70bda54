package import Catalog
package import Client
import Model
import Vault

/// The audit log, and lines that enrol machines.
extension Desk {
    /// Lines before a number, newest first.
    package func auditLines(before: Int64, limit: Int) throws -> [AuditLine] {
        try require(.seeAudit)
        return try core.catalog.auditLines(before: before, limit: limit)
    }

    package func verifyAudit(_ kept: AuditLog.Mark?) throws -> AuditLog.Verdict {
        try require(.seeAudit)
        return try core.accounts.audit.verify(kept)
    }

    /// The whole log as a table.
    package func exportAudit() throws -> ServerAnswer {
        try require(.seeAudit)
        try note("audit.exported")
        let catalog = core.catalog
        var answer = ServerAnswer(contentType: "text/csv; charset=utf-8")
        answer.headers = [
            ("Content-Disposition", DownloadName.disposition(Array("holdfast-audit.csv".utf8))),
            ("X-Content-Type-Options", "nosniff"),
        ]
        answer.stream = ServerAnswer.Stream(length: nil, place: try enterStreams()) { write in
            let send = watched(nil, write)
            func line(_ fields: [String]) throws {
                let text = fields.map(CSV.field).joined(separator: ",") + "\r\n"
                try Array(text.utf8).withUnsafeBytes { try send($0) }
            }
            try line(["number", "time", "who", "address", "action", "object", "succeeded", "detail", "hash"])
            var next: Int64 = 1
            while true {
                let lines = try catalog.auditLines(from: next, limit: 1_000)
                guard let last = lines.last else { return }
                for each in lines {
                    try line([
                        "\(each.number)", TimeText.rfc3339(each.time), each.who, each.address, each.action, each.object,
                        each.succeeded ? "yes" : "no", String(decoding: each.detail, as: UTF8.self),
                        Hex.encode(each.hash.array),
                    ])
                }
                next = last.number + 1
            }
        }
        return answer
    }

    /// Makes a code with which machines enrol, and the line to paste on them.
    package func makeEnrolmentCode(
        group: String, uses: Int, hours: Int, address server: ServerAddress
    ) throws -> (code: EnrolmentCode, line: String) {
        try require(.manageMachines)
        try ServerCore.requireGroupName(group)
        try note("enrolment.opened", to: group, ["uses": .integer(Int64(uses)), "hours": .integer(Int64(hours))])
        let code = try core.makeEnrolmentCode(
            name: person.name, group: group, uses: uses, seconds: Int64(hours) * 3_600)
        let line =
            try ServerCore.installLine(code, address: server, catalog: core.catalog)
            ?? "echo \(code.text) | holdfast enrol \(server.description)"
        return (code, line)
    }
}
