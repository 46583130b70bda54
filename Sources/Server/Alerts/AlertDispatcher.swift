import Catalog
import Client
import Foundation
import Model
import Platform
import Synchronization
import Vault

/// Sends messages about alerts by mail and to webhooks, and the server's heartbeat, on a thread of its own. What is not
/// delivered is tried again, ever more seldom, and given up after some hours.
final class AlertDispatcher: Sendable {
    private struct State {
        var isStopping = false
        /// Something may be due: look at once.
        var isWoken = false
        /// Why the newest message was not delivered; `nil` when it was.
        var failure: String?
        var delivered: UInt64 = 0
        var failed: UInt64 = 0
        var abandoned: UInt64 = 0
    }

    private let catalog: any ServerCatalog
    private let clock: @Sendable () -> Timestamp
    private let server: ServerID
    private let settings: @Sendable () -> AlertSettings
    private let names: @Sendable (MachineID) -> String?
    private let caller: OutgoingCaller
    private let state = Monitor(State())
    private let thread = Mutex<WorkerThread?>(nil)

    /// Attempts before a message is given up, and the pauses between them in nanoseconds: about eight hours in all.
    static let attempts = 14
    static let firstPause: Int64 = 10_000_000_000
    static let longestPause: Int64 = 3_600_000_000_000

    init(
        _ catalog: any ServerCatalog, server: ServerID, clock: @escaping @Sendable () -> Timestamp,
        settings: @escaping @Sendable () -> AlertSettings, names: @escaping @Sendable (MachineID) -> String?,
        caller: OutgoingCaller = OutgoingCaller()
    ) {
        self.catalog = catalog
        self.server = server
        self.clock = clock
        self.settings = settings
        self.names = names
        self.caller = caller
    }

    func start() {
        thread.withLock { thread in
            if thread == nil { thread = try? WorkerThread(name: "alerts") { [self] in run() } }
        }
    }

    func stop() {
        state.update { $0.isStopping = true }
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
    }

    /// Something was added.
    func wake() { state.update { $0.isWoken = true } }

    var failure: String? { state.withLock { $0.failure } }
    var counts: (delivered: UInt64, failed: UInt64, abandoned: UInt64) {
        state.withLock { ($0.delivered, $0.failed, $0.abandoned) }
    }

    private func run() {
        var beat: Int64 = 0
        while true {
            let settings = settings()
            beatIfDue(settings, &beat)
            deliverDue(settings) { beatIfDue(settings, &beat) }
            var wait: Int64 = 5_000_000_000
            if settings.heartbeat != nil { wait = min(wait, max(beat - SystemClock.monotonic, 0)) }
            let isEnding = state.waitUntil({ $0.isStopping || $0.isWoken }, nanoseconds: wait)
            if isEnding, state.withLock({ $0.isStopping }) { return }
            state.withLock { $0.isWoken = false }
        }
    }

    /// - Parameter next: when it is due again, by the monotonic clock.
    private func beatIfDue(_ settings: AlertSettings, _ next: inout Int64) {
        let now = SystemClock.monotonic
        guard let heartbeat = settings.heartbeat, now >= next else { return }
        next = now + Int64(settings.heartbeatSeconds) * 1_000_000_000
        // Who watches notices what is missing: nothing is tried again.
        _ = try? callHeartbeat(heartbeat)
    }

    /// - Parameter between: called before each message: one that takes its time must not make the server look dead.
    private func deliverDue(_ settings: AlertSettings, _ between: () -> Void) {
        guard let (due, _) = try? catalog.messages(due: clock(), limit: 32) else { return }
        for message in due {
            if state.withLock({ $0.isStopping }) { return }
            between()
            do {
                try deliver(message, settings)
                try catalog.remove(message: message.id)
                state.withLock {
                    $0.delivered += 1
                    $0.failure = nil
                }
            } catch {
                let attempts = message.attempts + 1
                let text = (error as? HoldfastError)?.message ?? "\(error)"
                state.withLock {
                    $0.failed += 1
                    $0.failure = text
                    if attempts >= Self.attempts { $0.abandoned += 1 }
                }
                if attempts >= Self.attempts {
                    try? catalog.remove(message: message.id)
                } else {
                    let pause = min(Self.firstPause << min(Int64(attempts - 1), 12), Self.longestPause)
                    try? catalog.postpone(
                        message: message.id, attempts: attempts,
                        until: clock().advanced(by: pause / 2 + Int64.random(in: 0...pause / 2)))
                }
            }
        }
    }

    private func deliver(_ message: AlertMessage, _ settings: AlertSettings) throws {
        let summary = AlertSummary(message.alert, told: message.state, name: message.alert.machine.flatMap(names))
        if message.target == "mail" {
            if settings.mailTo.isEmpty { return }
            return try Mailer(settings).send(
                Mail(to: settings.mailTo, subject: summary.subject, text: summary.mailText))
        }
        // A webhook that was removed meanwhile is not told any more.
        guard let hook = settings.webhooks.first(where: { "webhook \($0.url)" == message.target }) else { return }
        try call(hook, event: "alert", body: body(summary, event: "alert"), delivery: "\(message.id)")
    }

    private func body(_ alert: AlertSummary?, event: String) -> [UInt8] {
        var fields: [String: JSONValue] = [
            "event": .string(event), "server": .string(server.hex), "time": .integer(clock().nanoseconds),
        ]
        if let alert { fields["alert"] = alert.json }
        return JSONValue.object(fields).encoded()
    }

    private func call(_ hook: AlertSettings.Webhook, event: String, body: [UInt8], delivery: String) throws {
        try caller.call(
            "POST", try OutgoingAddress(hook.url),
            headers: [
                ("Content-Type", "application/json"), ("Holdfast-Event", event), ("Holdfast-Delivery", delivery),
                (
                    WebhookSignature.header,
                    WebhookSignature.make(secret: hook.secret, time: clock().seconds, body: body)
                ),
            ], body: body)
    }

    private func callHeartbeat(_ url: String) throws { try caller.call("GET", try OutgoingAddress(url), seconds: 10) }

    /// Sends a message on every way, and tells what came of each.
    func test() -> [AlertTrial] {
        let settings = settings()
        func trial(_ target: String, _ body: () throws -> Void) -> AlertTrial {
            do {
                try body()
                return AlertTrial(target: target, failure: nil)
            } catch {
                return AlertTrial(target: target, failure: (error as? HoldfastError)?.message ?? "\(error)")
            }
        }
        var trials: [AlertTrial] = []
        if !settings.mailTo.isEmpty {
            trials.append(
                trial("mail") {
                    try Mailer(settings).send(
                        Mail(
                            to: settings.mailTo, subject: "Holdfast: a test",
                            text: "This is a test of the server \(server.hex). Alerts come to this address.\n"))
                })
        }
        for hook in settings.webhooks {
            trials.append(
                trial("webhook \(hook.url)") {
                    try call(hook, event: "test", body: body(nil, event: "test"), delivery: RequestNonce.random().hex)
                })
        }
        if let heartbeat = settings.heartbeat {
            trials.append(trial("heartbeat \(heartbeat)") { try callHeartbeat(heartbeat) })
        }
        return trials
    }
}

extension AlertSummary {
    /// - Parameter told: the state that is told, which may not be that of now.
    init(_ alert: AlertRecord, told state: AlertRecord.State? = nil, name: String?) {
        self.init(
            number: alert.number, kind: alert.kind, machine: alert.machine, machineName: name,
            severity: "\(alert.severity)", text: alert.text, state: "\(state ?? alert.state)", raised: alert.raised,
            changed: alert.changed, by: alert.by)
    }

    var subject: String {
        let what = machineName.map { "\(kind) on \(TreePath.display($0.utf8))" } ?? kind
        return state == "resolved" ? "Holdfast: resolved: \(what)" : "Holdfast: \(severity): \(what)"
    }

    var mailText: String {
        var lines = [state == "resolved" ? "This does not hold any more:" : "", text, ""]
        if let machineName, let machine {
            lines.append("Machine: \(TreePath.display(machineName.utf8)) (\(machine.hex))")
        }
        lines.append("Alert \(number), \(kind), raised \(TimeText.rfc3339(raised))")
        lines.append(
            "`holdfast alerts` lists what is open; `holdfast alerts ack \(number)` says that you have seen it.")
        if state == "resolved" { lines.removeLast() }
        return lines.drop { $0.isEmpty }.joined(separator: "\n") + "\n"
    }
}
