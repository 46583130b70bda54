import Model
import Platform
import Synchronization

/// How far a long action is.
struct Progress: Equatable, Sendable {
    /// What is being done: `reading`, `restoring`, `checking`.
    var phase: String
    var files: UInt64 = 0
    /// How many files there will be, when that is known.
    var totalFiles: UInt64?
    /// Bytes dealt with, in the size people see.
    var bytes: UInt64 = 0
    /// How many bytes there will be, when that is known.
    var totalBytes: UInt64?
    /// What is in hand now.
    var item: String = ""
}

/// Turns progress into lines: measures the rate over the last seconds and estimates what remains. Pure; the clock is
/// handed in.
struct ProgressMeter {
    /// The rate is that of about this long.
    private static let window: Double = 8e9

    private let begin: Int64
    private var last: Int64
    private var lastBytes: UInt64 = 0
    private var lastFiles: UInt64 = 0
    private(set) var bytesPerSecond: Double = 0
    private(set) var filesPerSecond: Double = 0

    /// `now` is the monotonic clock in nanoseconds.
    init(now: Int64) {
        begin = now
        last = now
    }

    /// Takes note of where things stand.
    mutating func update(_ progress: Progress, now: Int64) {
        let span = Double(now - last)
        guard span > 0 else { return }
        if progress.bytes < lastBytes || progress.files < lastFiles {
            // A new phase counts from nothing.
            lastBytes = 0
            lastFiles = 0
        }
        // An average of the whole so far at first, of the last seconds later.
        let weight = max(span / (span + ProgressMeter.window), span / Double(max(now - begin, 1)))
        bytesPerSecond += weight * (Double(progress.bytes - lastBytes) * 1e9 / span - bytesPerSecond)
        filesPerSecond += weight * (Double(progress.files - lastFiles) * 1e9 / span - filesPerSecond)
        last = now
        lastBytes = progress.bytes
        lastFiles = progress.files
    }

    /// Seconds that remain; `nil` while that is a guess.
    func remaining(_ progress: Progress, now: Int64) -> Double? {
        guard now - begin >= 2_000_000_000 else { return nil }
        if let total = progress.totalBytes, total >= progress.bytes, bytesPerSecond >= 1 {
            return Double(total - progress.bytes) / bytesPerSecond
        }
        if progress.totalBytes == nil, let total = progress.totalFiles, total >= progress.files, filesPerSecond >= 0.01
        {
            return Double(total - progress.files) / filesPerSecond
        }
        return nil
    }

    /// `reading   1,234 files  5.60 GB  412 MB/s  38 %  1 min 2 s left   usr/lib/...`, at most `width` columns.
    func line(_ progress: Progress, now: Int64, width: Int) -> String {
        var parts = [progress.phase]
        if let total = progress.totalFiles {
            parts.append("\(Units.count(progress.files)) of \(Units.count(total, "file"))")
        } else {
            parts.append(Units.count(progress.files, "file"))
        }
        parts.append(Units.size(progress.bytes))
        if bytesPerSecond >= 1 { parts.append(Units.size(UInt64(min(bytesPerSecond, 9e18))) + "/s") }
        if let total = progress.totalBytes, total > 0 {
            parts.append(Units.percent(min(progress.bytes, total), of: total))
        }
        if let seconds = remaining(progress, now: now), seconds < 1e9 {
            parts.append(Units.span(nanoseconds: UInt64(max(seconds, 1).rounded()) * 1_000_000_000) + " left")
        }
        let text = parts.joined(separator: "  ")
        let room = width - Table.width(text) - 3
        if room >= 12, !progress.item.isEmpty { return text + "  " + Table.shorten(progress.item, to: room) }
        return Table.shorten(text, to: width)
    }
}

/// Shows how far a long action is: one line written over on a terminal, a line now and then elsewhere, an event a second
/// with `--json`. Safe to call from any thread and as often as one likes.
final class ProgressView: Sendable {
    private let console: Console
    private let interval: Int64
    private let state: Mutex<State>

    private struct State {
        var meter: ProgressMeter
        var next: Int64
    }

    init(_ console: Console) {
        self.console = console
        let now = SystemClock.monotonic
        interval = console.isJSON ? 1_000_000_000 : console.isInteractive ? 100_000_000 : 30_000_000_000
        state = Mutex(State(meter: ProgressMeter(now: now), next: now + interval))
    }

    /// Shows `progress` unless something was shown a moment ago; the closure is not called then.
    func update(_ progress: () -> Progress) {
        if console.isQuiet && !console.isJSON { return }
        let now = SystemClock.monotonic
        guard state.withLock({ now >= $0.next }) else { return }
        let progress = progress()
        let shown = state.withLock { state -> (meter: ProgressMeter, isDue: Bool) in
            let isDue = now >= state.next
            if isDue {
                state.next = now + interval
                state.meter.update(progress, now: now)
            }
            return (state.meter, isDue)
        }
        if shown.isDue { show(progress, shown.meter, now) }
    }

    /// Takes the line away. Call before the result is printed.
    func finish() { console.showTransient(nil) }

    private func show(_ progress: Progress, _ meter: ProgressMeter, _ now: Int64) {
        if console.isJSON {
            var fields: [String: JSON] = [
                "phase": .string(progress.phase), "files": .count(progress.files), "bytes": .count(progress.bytes),
                "bytes_per_second": .count(UInt64(min(max(meter.bytesPerSecond, 0), 9e18))),
            ]
            if let total = progress.totalFiles { fields["total_files"] = .count(total) }
            if let total = progress.totalBytes { fields["total_bytes"] = .count(total) }
            if let seconds = meter.remaining(progress, now: now) { fields["seconds_left"] = .number(seconds.rounded()) }
            // A closed output is noticed by the next result.
            try? console.emit("progress", fields)
        } else if console.isInteractive {
            console.showTransient(meter.line(progress, now: now, width: Terminal.width(2) - 1))
        } else {
            var plain = progress
            plain.item = ""
            console.note(meter.line(plain, now: now, width: 200))
        }
    }
}
