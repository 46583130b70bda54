import Client
import Foundation
import Model
import Platform

/// A mail of this server.
struct Mail: Sendable {
    var to: [String]
    var subject: String
    var text: String
    /// The same for programs that show pages.
    var html: String?
}

/// Gives mails to the system's mail program, or hands them to a mail server itself.
struct Mailer {
    private let settings: AlertSettings
    /// The program that hands mails to a server.
    private let curl: String
    /// Seconds until a program that does not end is ended.
    private static let patience = 60

    init(_ settings: AlertSettings, curl: String = "/usr/bin/curl") {
        self.settings = settings
        self.curl = curl
    }

    /// Throws `io` with what went wrong when the mail is not taken.
    func send(_ mail: Mail) throws {
        try settings.check()
        for address in mail.to { try AlertSettings.checkMail(address) }
        // A file, and not a pipe: a program that does not read keeps nobody waiting.
        let text = Self.message(mail, from: sender, host: Machine.hostName)
        // Programs want the lines of this system, servers those of mails.
        let isHanded = settings.submission != nil
        let file = try Self.temporary("mail", isHanded ? text.replacing("\n", with: "\r\n") : text)
        defer { try? FileManager.default.removeItem(at: file) }
        guard let submission = settings.submission else { return try give(file) }
        let orders = try Self.temporary("orders", Self.orders(submission, mail, from: sender ?? "", file: file.path))
        defer { try? FileManager.default.removeItem(at: orders) }
        try hand(orders, to: submission)
    }

    /// Mail servers want one; the system's own program knows one by itself.
    private var sender: String? {
        if let from = settings.mailFrom { return from }
        return settings.submission == nil ? nil : "holdfast@\(Machine.hostName)"
    }

    private func give(_ file: URL) throws {
        // -t: to whom stands in the head; -i: a line with a dot does not end it.
        let (status, _) = try Self.run(settings.sendmail, ["-t", "-i"], input: file)
        guard status == 0 else {
            throw HoldfastError(.io, "\(settings.sendmail) ended with status \(status).", isTemporary: true)
        }
    }

    /// Everything, the password too, stands in the orders: arguments are for everybody on this machine to see.
    private func hand(_ orders: URL, to submission: MailSubmission) throws {
        let (status, words) = try Self.run(curl, ["--disable", "--config", "-"], input: orders)
        guard status == 0 else {
            let said = words.split(separator: "\n").last.map { String($0.drop { $0 != ")" }.dropFirst(2)) } ?? ""
            let place = "\(submission.host), port \(submission.port)"
            let hint: String? =
                switch status {
                case 6: "Is the name of the mail server right?"
                case 7, 28: "Is the port right, and does a firewall let this server reach it?"
                case 35, 60, 64:
                    "Is the way of encryption right, and the certificate of the mail server one that this machine believes?"
                case 67: "Are user and password right?"
                default: nil
                }
            throw HoldfastError(
                .io, "The mail server \(place) did not take the mail: \(said.isEmpty ? "status \(status)" : said).",
                context: hint.map { ["hint": $0] } ?? [:], isTemporary: true)
        }
    }

    // MARK: Programs

    private static func temporary(_ what: String, _ text: String) throws -> URL {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent(
            "holdfast-\(what)-\(RequestNonce.random().hex)")
        guard
            FileManager.default.createFile(
                atPath: file.path, contents: Data(text.utf8), attributes: [.posixPermissions: 0o600])
        else { throw HoldfastError(.io, "There is no room for a mail in \(file.path).", isTemporary: true) }
        return file
    }

    private static func run(_ program: String, _ arguments: [String], input: URL) throws -> (Int32, String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"]
        process.standardOutput = FileHandle.nullDevice
        let said = try temporary("said", "")
        defer { try? FileManager.default.removeItem(at: said) }
        do {
            process.standardInput = try FileHandle(forReadingFrom: input)
            process.standardError = try FileHandle(forWritingTo: said)
            try process.run()
        } catch {
            throw HoldfastError(
                .io, "\(program) cannot be run.",
                context: ["hint": program.hasSuffix("curl") ? "Install curl." : "Is a mail program installed?"],
                cause: error, isTemporary: true)
        }
        let end = SystemClock.monotonic + Int64(patience) * 1_000_000_000
        while process.isRunning, SystemClock.monotonic < end { SystemClock.pause(milliseconds: 20) }
        guard !process.isRunning else {
            process.terminate()
            throw HoldfastError(.io, "\(program) did not end.", isTemporary: true)
        }
        let words = (try? FileHandle(forReadingFrom: said).read(upToCount: 4_096)) ?? nil
        return (process.terminationStatus, String(decoding: words ?? Data(), as: UTF8.self))
    }

    /// What curl is told to do, as its man page says under `--config`.
    static func orders(_ submission: MailSubmission, _ mail: Mail, from: String, file: String) -> String {
        func quoted(_ text: String) -> String {
            "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        }
        let scheme = submission.security == .implicit ? "smtps" : "smtp"
        let host = submission.host.contains(":") ? "[\(submission.host)]" : submission.host
        var lines = [
            "url = \(quoted("\(scheme)://\(host):\(submission.port)/\(Machine.hostName)"))",
            "mail-from = \(quoted(from))", "upload-file = \(quoted(file))", "silent", "show-error",
            "connect-timeout = 15",
            "max-time = 50", "proto = \"=smtp,smtps\"", "noproxy = \"*\"",
        ]
        lines += mail.to.map { "mail-rcpt = \(quoted($0))" }
        // Nothing goes out in the clear because somebody on the way has taken the offer of encryption away.
        if submission.security == .upgrade { lines.append("ssl-reqd") }
        if let user = submission.user { lines.append("user = \(quoted("\(user):\(submission.password ?? "")"))") }
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: The mail itself

    static func message(_ mail: Mail, from: String?, host: String, now: Date = Date()) -> String {
        var head = ["To: \(mail.to.joined(separator: ", "))"]
        if let from { head.append("From: \(from)") }
        head.append("Subject: \(encoded(mail.subject))")
        head.append("Date: \(date(now))")
        head.append("Message-ID: <\(RequestNonce.random().hex)@\(host)>")
        head.append("Auto-Submitted: auto-generated")
        head.append("MIME-Version: 1.0")
        func part(_ type: String, _ text: String) -> [String] {
            let lines = Data(text.utf8).base64EncodedString(options: [.lineLength76Characters, .endLineWithLineFeed])
            return ["Content-Type: \(type); charset=utf-8", "Content-Transfer-Encoding: base64", ""]
                + lines.split(separator: "\n").map(String.init)
        }
        var lines = head
        if let html = mail.html {
            let boundary = "holdfast-\(RequestNonce.random().hex)"
            lines += ["Content-Type: multipart/alternative; boundary=\"\(boundary)\"", ""]
            for (type, text) in [("text/plain", mail.text), ("text/html", html)] {
                lines += ["--\(boundary)"] + part(type, text) + [""]
            }
            lines += ["--\(boundary)--"]
        } else {
            lines += part("text/plain", mail.text)
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// RFC 5322, in UTC.
    static func date(_ date: Date) -> String {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "UTC")
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss +0000"
        return formatter.string(from: date)
    }

    /// A subject that stays one line, whatever a machine is called.
    static func encoded(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) && text.utf8.count < 70 { return text }
        var words: [String] = []
        var word = ""
        for character in text {
            if word.utf8.count + String(character).utf8.count > 40 {
                words.append(word)
                word = ""
            }
            word.append(character)
        }
        words.append(word)
        return words.map { "=?utf-8?B?\(Data($0.utf8).base64EncodedString())?=" }.joined(separator: "\n ")
    }
}
