import Catalog
import Client
import Model
import Vault

/// Settings of the server as a whole. Passwords and secrets go in and never come out.
enum SettingsOperations {
    static let all: [Operation] = [
        Operation(
            "GET", "/api/v1/settings", "Whom the server tells of what, when, and how its mail goes out.",
            tag: "settings",
            access: .person(.manageSettings), response: .json("Settings")
        ) { core, request in
            try core.require(request, machine: nil)
            return .json(try encode(core))
        },
        Operation(
            "PUT", "/api/v1/settings", "Changes settings; those that are not named stay.", tag: "settings",
            access: .person(.manageSettings), request: .json("SettingsChange"), response: .json("Settings"),
            failures: [(400, "A value cannot work; nothing was changed.")]
        ) { core, request in
            try core.require(request, machine: nil)
            try change(core, JSONFields(parsing: request.body, document: "the settings"), request)
            return .json(try encode(core))
        },
        Operation(
            "POST", "/api/v1/settings/webhooks",
            "Adds a webhook, or gives it another secret. The secret that signs what is sent is shown once.",
            tag: "settings", access: .person(.manageSettings), request: .json("NewWebhook"),
            response: .json("Webhook"), status: 201, maximumBody: 16 << 10
        ) { core, request in
            let url = try JSONFields(parsing: request.body, document: "the webhook").string("url")
            let secret = try core.desk(request).addWebhook(url)
            return ServerAnswer(
                status: 201, body: JSONValue.object(["url": .string(url), "secret": .string(secret)]).encoded())
        },
        Operation(
            "DELETE", "/api/v1/settings/webhooks", "Takes a webhook away: it is told nothing any more.",
            tag: "settings", access: .person(.manageSettings), query: [("url", "Its address.")], status: 204,
            failures: [(404, "There is no such webhook.")]
        ) { core, request in
            try core.desk(request).removeWebhook(request.query["url"] ?? "")
            return .nothing
        },
    ]

    private static func encode(_ core: ServerCore) throws -> [UInt8] {
        let settings = try AlertSettings.load(core.catalog)
        let report = try WeeklyReport.load(core.catalog)
        var fields: [String: JSONValue] = [
            "mail_to": .array(settings.mailTo.map { .string($0) }), "mail_from": .string(settings.mailFrom ?? ""),
            "silent_seconds": .integer(settings.silentSeconds), "lag_seconds": .integer(settings.lagSeconds),
            "heartbeat": .string(settings.heartbeat ?? ""), "console_address": .string(core.consoleAddress ?? ""),
            "webhooks": .array(settings.webhooks.map { .string($0.url) }),
            "report_to": .array(report.mailTo.map { .string($0) }), "report_weekday": .integer(Int64(report.weekday)),
            "report_hour": .integer(Int64(report.hour)),
        ]
        if var submission = settings.submission {
            submission.password = nil
            fields["mail_server"] = submission.encoded
        }
        return JSONValue.object(fields).encoded()
    }

    private static func change(_ core: ServerCore, _ fields: JSONFields, _ request: ServerRequest) throws {
        var settings = try AlertSettings.load(core.catalog)
        var report = try WeeklyReport.load(core.catalog)
        func text(_ name: String, _ place: (String?) -> Void) throws {
            guard fields.has(name) else { return }
            let text = try fields.string(name)
            place(text.isEmpty ? nil : text)
        }
        if fields.has("mail_to") {
            settings.mailTo = try fields.strings("mail_to", atMost: AlertSettings.maximumTargets)
        }
        try text("mail_from") { settings.mailFrom = $0 }
        try text("heartbeat") { settings.heartbeat = $0 }
        if fields.has("silent_seconds") {
            settings.silentSeconds = try fields.integer("silent_seconds", in: 60...(366 * 86_400))
        }
        if fields.has("lag_seconds") { settings.lagSeconds = try fields.integer("lag_seconds", in: 1...(366 * 86_400)) }
        if fields.has("mail_server") {
            let inner = try fields.object("mail_server")
            settings.submission = inner.members.isEmpty ? nil : try MailSubmission(inner)
        }
        if fields.has("report_to") {
            report.mailTo = try fields.strings("report_to", atMost: AlertSettings.maximumTargets)
        }
        if fields.has("report_weekday") { report.weekday = Int(try fields.integer("report_weekday", in: 1...7)) }
        if fields.has("report_hour") { report.hour = Int(try fields.integer("report_hour", in: 0...23)) }
        var address: String??
        try text("console_address") { address = .some($0) }
        // All of it makes sense, or nothing is changed.
        try settings.checkFromOutside()
        try report.check()
        if case .some(let .some(text)) = address { _ = try ServerAddress(text) }
        let names = fields.members.keys.sorted().joined(separator: ", ")
        try core.accounts.audit.note("settings.changed", by: request.owner, from: request.address, to: names)
        try core.change(settings)
        // Who says nothing of the report takes nothing back that another changes meanwhile.
        if fields.members.keys.contains(where: { $0.hasPrefix("report_") }) { try report.save(core.catalog) }
        if let address { try core.setConsoleAddress(address ?? "") }
    }
}
