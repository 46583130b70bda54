import Catalog
import Client
import Model
import Vault

/// The audit log.
enum AuditOperations {
    static let all: [Operation] = [
        Operation(
            "GET", "/api/v1/audit", "Who did what, when, from where; newest first.", tag: "audit",
            access: .person(.seeAudit),
            query: [("before", "Only lines before this number."), ("limit", "At most so many; 1,000 at most.")],
            response: .json("AuditLines")
        ) { core, request in
            let limit = try request.number("limit", in: 1...1_000) ?? 100
            let before = try request.number("before", in: 1...Int.max).map { Int64($0) } ?? .max
            let lines = try core.desk(request).auditLines(before: before, limit: limit).map { line in
                JSONValue.object([
                    "number": .integer(line.number), "time": .integer(line.time.nanoseconds),
                    "who": .string(line.who), "address": .string(line.address), "action": .string(line.action),
                    "object": .string(line.object), "succeeded": .bool(line.succeeded),
                    "detail": (try? JSONValue(parsing: line.detail)) ?? .object([:]),
                    "hash": .string(Hex.encode(line.hash.array)),
                ])
            }
            return .json(JSONValue.object(["lines": .array(lines)]).encoded())
        },
        Operation(
            "GET", "/api/v1/audit/verification", "Checks that no line was changed or taken out.", tag: "audit",
            access: .person(.seeAudit),
            query: [("kept", "A line that was kept elsewhere, NUMBER:HASH: whether it is there, too.")],
            response: .json("AuditVerdict")
        ) { core, request in
            let kept = try request.query["kept"].map { text in
                guard let mark = AuditLog.Mark(text) else {
                    throw HoldfastError(.usage, "kept is the number of a line, a colon, and its hash")
                }
                return mark
            }
            let verdict = try core.desk(request).verifyAudit(kept)
            var fields: [String: JSONValue] = [
                "whole": .bool(verdict.isWhole), "lacks_kept": .bool(verdict.lacksKept),
                "lines": .integer(verdict.lines), "hash": .string(Hex.encode(verdict.hash.array)),
            ]
            if let broken = verdict.firstBroken { fields["first_broken"] = .integer(broken) }
            return .json(JSONValue.object(fields).encoded())
        },
        Operation(
            "GET", "/api/v1/audit/export", "The whole audit log as a table (CSV).", tag: "audit",
            access: .person(.seeAudit), response: .text("comma-separated values")
        ) { core, request in try core.desk(request).exportAudit() },
    ]
}

/// Codes with which machines enrol.
enum EnrolmentCodeOperations {
    private static let base = "/api/v1/enrolment-codes"

    static let all: [Operation] = [
        Operation(
            "GET", base, "The codes with which machines can still enrol, without their secrets.", tag: "enrolment",
            access: .person(.manageMachines), response: .json("EnrolmentCodeList")
        ) { core, request in
            let codes = try core.desk(request).enrolmentCodes().map { code in
                var fields: [String: JSONValue] = [
                    "id": .string(Hex.encode(code.hash.array)), "group": .string(code.group),
                    "name": .string(code.name), "created": .integer(code.created.nanoseconds),
                ]
                if let uses = code.uses { fields["uses"] = .integer(Int64(uses)) }
                if let expires = code.expires { fields["expires"] = .integer(expires.nanoseconds) }
                return JSONValue.object(fields)
            }
            return .json(JSONValue.object(["codes": .array(codes)]).encoded())
        },
        Operation(
            "POST", base, "Makes a code with which machines enrol, and the line to paste there. Shown once.",
            tag: "enrolment", access: .person(.manageMachines), request: .json("NewEnrolmentCode"),
            response: .json("EnrolmentCode"), status: 201
        ) { core, request in
            let fields = try JSONFields(parsing: request.body, document: "the code")
            let uses = try fields.has("uses") ? fields.integer("uses", in: 1...10_000) : 1
            let hours = try fields.has("hours") ? fields.integer("hours", in: 1...8_760) : 24
            let group = try fields.has("group") ? fields.string("group") : ServerCore.defaultGroup
            let origin =
                try fields.has("address")
                ? fields.string("address") : "https://" + (request.host.isEmpty ? "localhost" : request.host)
            let made = try core.desk(request).makeEnrolmentCode(
                group: group, uses: Int(uses), hours: Int(hours), address: try ServerAddress(origin))
            return ServerAnswer(
                status: 201,
                body: JSONValue.object(["code": .string(made.code.text), "line": .string(made.line)]).encoded())
        },
        Operation(
            "DELETE", base + "/{code}", "Withdraws a code.", tag: "enrolment", access: .person(.manageMachines),
            status: 204, failures: [(404, "It does not hold any more.")]
        ) { core, request in
            try core.desk(request).withdrawEnrolmentCode(request.parameters["code"] ?? "")
            return .nothing
        },
    ]
}
