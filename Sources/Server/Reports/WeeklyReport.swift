package import Catalog
import Client
package import Model
import Synchronization
import Vault

/// Who gets the report by mail each week, and when.
package struct WeeklyReport: Hashable, Sendable {
    /// The names of the settings: what was said, and which week was sent last.
    static let setting = "weekly-report"
    static let sentSetting = "weekly-report-sent"

    package var mailTo: [String] = []
    /// 1 Monday to 7 Sunday.
    package var weekday = 1
    /// By this machine's clock.
    package var hour = 7

    package init() {}

    package var isOn: Bool { !mailTo.isEmpty }

    package func check() throws {
        guard mailTo.count <= AlertSettings.maximumTargets else {
            throw HoldfastError(.usage, "At most \(AlertSettings.maximumTargets) addresses get the report.")
        }
        for address in mailTo { try AlertSettings.checkMail(address) }
        guard (1...7).contains(weekday), (0...23).contains(hour) else {
            throw HoldfastError(.usage, "A day of the week, and an hour from 0 to 23.")
        }
    }

    /// What is to be done about the report now.
    enum Step: Hashable, Sendable {
        case nothing
        /// Nobody has sent a report yet: what is past is not sent after, from the next time on it is.
        case begin(week: Int64)
        case send(week: Int64)
    }

    /// A report later than this is not worth sending: the server was away, and the next one comes.
    private static let latest: Int64 = 3 * 86_400

    /// The newest time at which a report was due, as the number of its day; `sent` is that of the last one.
    func step(at now: Timestamp, in zone: TimeZoneRules, sent: Int64?) -> Step {
        guard isOn else { return .nothing }
        let civil = zone.civil(now)
        var day = Int64(civil.date.dayNumber)
        let today = civil.date.weekday
        var back = (today - weekday + 7) % 7
        if back == 0, civil.hour < hour { back = 7 }
        day -= Int64(back)
        guard let sent else { return .begin(week: day) }
        if day <= sent { return .nothing }
        let late = Int64(back) * 86_400 + Int64(civil.secondOfDay) - Int64(hour) * 3_600
        return late <= Self.latest ? .send(week: day) : .begin(week: day)
    }

    // MARK: Keeping

    func encoded() -> [UInt8] {
        JSONValue.object([
            "mail_to": .array(mailTo.map { .string($0) }), "weekday": .integer(Int64(weekday)),
            "hour": .integer(Int64(hour)),
        ]).encoded()
    }

    package static func load(_ catalog: any ServerCatalog) throws -> WeeklyReport {
        guard let bytes = try catalog.setting(setting) else { return WeeklyReport() }
        let fields = try JSONFields(parsing: bytes, document: "the settings of the weekly report")
        var report = WeeklyReport()
        report.mailTo = try fields.strings("mail_to", atMost: AlertSettings.maximumTargets)
        report.weekday = Int(try fields.integer("weekday", in: 1...7))
        report.hour = Int(try fields.integer("hour", in: 0...23))
        return report
    }

    package func save(_ catalog: any ServerCatalog) throws {
        try check()
        try catalog.set(Self.setting, encoded())
    }

    static func sent(_ catalog: any ServerCatalog) throws -> Int64? {
        try catalog.setting(sentSetting).flatMap { Int64(String(decoding: $0, as: UTF8.self)) }
    }

    static func note(sent day: Int64, _ catalog: any ServerCatalog) throws {
        try catalog.keep(sentSetting, Array("\(day)".utf8))
    }
}

extension ServerCore {
    /// The name of the setting that says by what address people reach the console.
    static let addressSetting = "console-address"

    /// By what address people reach the console; `nil` where nobody has said.
    package var consoleAddress: String? {
        (try? catalog.setting(Self.addressSetting)).flatMap { $0 }
            .flatMap { $0.isEmpty ? nil : String(decoding: $0, as: UTF8.self) }
    }

    /// Throws `usage` for what is no address of a console.
    package func setConsoleAddress(_ text: String) throws {
        if text.isEmpty { return try catalog.set(Self.addressSetting, []) }
        _ = try ServerAddress(text)
        try catalog.set(Self.addressSetting, Array(text.utf8))
    }

    /// Sends the report now. Throws what kept the mail from going out.
    package func sendReport(to addresses: [String], zone: TimeZoneRules) throws {
        let report = ReportText(protectionReport(of: try catalog.machines()), zone: zone, address: consoleAddress)
        try Mailer(alertSettings.withLock { $0 }).send(
            Mail(to: addresses, subject: report.subject, text: report.text, html: report.html))
    }

    /// Sends the report when its time has come: at most once a week, whatever happens to this process. One that could not be
    /// sent is tried again for some days.
    func sendReportIfDue(zone: TimeZoneRules) {
        guard let settings = try? WeeklyReport.load(catalog), settings.isOn,
            let sent = try? WeeklyReport.sent(catalog) as Int64??
        else { return }
        do {
            switch settings.step(at: clock(), in: zone, sent: sent) {
            case .nothing: return
            case .begin(let day): try WeeklyReport.note(sent: day, catalog)
            case .send(let day):
                // Noted first: who dies between the two sends none rather than two. What is known to have failed is not sent.
                try WeeklyReport.note(sent: day, catalog)
                do { try sendReport(to: settings.mailTo, zone: zone) } catch {
                    try WeeklyReport.note(sent: sent ?? day - 7, catalog)
                    throw error
                }
                reportFailure.withLock { $0 = nil }
            }
        } catch {
            reportFailure.withLock { $0 = (error as? HoldfastError)?.message ?? "\(error)" }
        }
    }

    /// Why the last report could not be sent; `nil` when it was.
    package var weeklyReportFailure: String? { reportFailure.withLock { $0 } }
}
