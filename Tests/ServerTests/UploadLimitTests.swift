import Client
import Foundation
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Policy
@testable import Server

@Suite("Limits of uploads", .serialized)
struct UploadLimitTests {
    /// A clock that goes when it is told to.
    private final class Clock: Sendable {
        let nanoseconds: Mutex<Int64>
        init(_ start: Int64) { nanoseconds = Mutex(start) }
        var now: Int64 { nanoseconds.withLock { $0 } }
        func advance(_ by: Int64) { nanoseconds.withLock { $0 += by } }
    }

    private static func windows(_ texts: String...) throws -> BandwidthWindows {
        BandwidthWindows(try texts.map { try BandwidthWindow.parse($0) })
    }

    /// Sends pieces as a transport does, and answers how many bytes went in the time.
    private static func send(_ limiter: UploadLimiter, _ clock: Clock, seconds: Int64) -> Int {
        let end = clock.now + seconds * 1_000_000_000
        var sent = 0
        while true {
            let piece = limiter.piece
            clock.advance(limiter.reserve(piece))
            if clock.now >= end { return sent }
            sent += piece
            // What is not limited takes a little time too.
            clock.advance(1_000_000)
        }
    }

    @Test("a limit holds in its window, another in the next, and none where there is none")
    func byWindow() throws {
        // Monday 2026-11-16, 07:59:50 UTC.
        let start = Timestamp(seconds: 1_794_815_990)
        let clock = Clock(start.nanoseconds)
        let limiter = UploadLimiter(wall: { clock.now }, monotonic: { clock.now })
        #expect(!limiter.isLimited && limiter.rate == nil && limiter.patience(for: 1_000_000) == 0)
        limiter.set(try Self.windows("8Mbit/s Mon-Fri 08:00-18:00", "800kbit/s Mon 08:10-08:20"), zone: .utc)
        #expect(limiter.isLimited && limiter.rate == nil)
        #expect(Self.send(limiter, clock, seconds: 9) > 50_000_000, "before the window there is no limit")
        clock.advance(2_000_000_000)
        #expect(limiter.rate == Rate(bytesPerSecond: 1_000_000))
        let fast = Self.send(limiter, clock, seconds: 60)
        #expect((58_000_000...62_000_000).contains(fast), "\(fast)")
        clock.advance(600_000_000_000)
        let slow = Self.send(limiter, clock, seconds: 60)
        #expect((5_800_000...6_200_000).contains(slow), "\(slow)")
        // A change holds at once, also for what is under way.
        limiter.set(BandwidthWindows(), zone: .utc)
        #expect(limiter.reserve(1_000_000) == 0)
    }

    @Test("a body of a slow link is given the time that it needs")
    func patience() throws {
        let limiter = UploadLimiter()
        limiter.set(try Self.windows("8kbit/s", "1Gbit/s Sun"), zone: .utc)
        #expect(limiter.patience(for: 16 << 20) > 33_000)
        #expect(limiter.patience(for: 16 << 20) < 40_000)
    }

    @Test("2 Mbit/s are held within a tenth on a real connection, by several packs, and other requests are not held up")
    func measured() async throws {
        let server = try await ServerFixture.start()
        try await ServerFixture.blocking {
            let machine = try server.enrol("ann")
            let connection = ServerConnection(machine.credentials)
            connection.uploads.set(try Self.windows("2Mbit/s"), zone: .utc)
            let remote = RemoteVault(connection, vault: server.core.vaultID)
            let writer = try TestWriter(
                remote, TestMachine(id: machine.credentials.machine, secrets: machine.secrets))
            var attempts: [(rate: Double, longest: Int64)] = []
            // A machine with other things to do may be slower than the limit; it is never faster.
            for _ in 0..<4 {
                attempts.append(try Self.measure(server, writer, remote))
                if attempts.contains(where: { $0.rate > 1_800_000 && $0.longest < 2_000_000_000 }) { break }
            }
            print("2 Mbit/s: \(attempts)")
            #expect(attempts.allSatisfy { $0.rate < 2_200_000 }, "\(attempts)")
            #expect(attempts.contains { $0.rate > 1_800_000 && $0.longest < 2_000_000_000 }, "\(attempts)")
        }
    }

    /// Bits a second of a backup beyond the first burst, and how long another request took at most meanwhile.
    private static func measure(
        _ server: ServerFixture, _ writer: TestWriter, _ remote: RemoteVault
    ) throws -> (rate: Double, longest: Int64) {
        func stored() throws -> Double {
            let statistics = try server.core.vault.catalog.statistics()
            return Double(statistics.data.bytes + statistics.meta.bytes)
        }
        var generator = SystemRandomNumberGenerator()
        let texts = (0..<6).map { _ in
            String(decoding: (0..<300_000).map { _ in UInt8.random(in: 0x20...0x7E, using: &generator) }, as: UTF8.self)
        }
        let state = Mutex<(longest: Int64, isDone: Bool)>((0, false))
        let asker = try WorkerThread(name: "asker") {
            while !state.withLock({ $0.isDone }) {
                let begun = SystemClock.monotonic
                _ = try? remote.points(PointQuery())
                let took = SystemClock.monotonic - begun
                state.withLock { $0.longest = max($0.longest, took) }
                SystemClock.pause(milliseconds: 200)
            }
        }
        let before = try stored()
        let begun = SystemClock.monotonic
        _ = try writer.backup(texts)
        let seconds = Double(SystemClock.monotonic - begun) / 1e9
        state.withLock { $0.isDone = true }
        asker.join()
        let bytes = try stored() - before
        #expect(bytes > 1_000_000, "\(bytes)")
        return ((bytes - 65_536) * 8 / seconds, state.withLock { $0.longest })
    }
}
