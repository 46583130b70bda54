import Client
import Model
import Platform
import Synchronization
import TestSupport
import Testing

@testable import Server

@Suite("Bodies that are made while they are sent")
struct StreamTests {
    /// Opened by the test.
    private final class Gate: Sendable {
        private let isOpen = Monitor(false)
        func open() { isOpen.update { $0 = true } }
        func wait() { isOpen.waitUntil({ $0 }, nanoseconds: 60_000_000_000) }
    }

    private static func page(
        _ streams: Turnstile,
        _ body: @escaping @Sendable (_ write: (UnsafeRawBufferPointer) throws -> Void) throws -> Void
    )
        -> Operation
    {
        Operation("GET", "/stream", "Bytes, for a test.", tag: "test", access: .open) { _, _ in
            guard let place = streams.enter("one") else { return ServerAnswer(status: 429) }
            var answer = ServerAnswer()
            answer.stream = ServerAnswer.Stream(length: nil, place: place) { try body($0) }
            return answer
        }
    }

    @Test("what is slow to be made holds no thread of the server, has one place, and gives it back")
    func slow() async throws {
        let (gate, streams) = (Gate(), Turnstile(maximum: 2, ofHolder: 1))
        let server = try await ServerFixture.start {
            $0.threads = 1
            $0.pages = [
                Self.page(streams) { write in
                    try Array("begun\n".utf8).withUnsafeBytes(write)
                    try [UInt8](repeating: UInt8(ascii: "."), count: StreamedBody.firstPiece).withUnsafeBytes(write)
                    gate.wait()
                    try Array("ended\n".utf8).withUnsafeBytes(write)
                }
            ]
        }
        try await ServerFixture.blocking {
            let reader = try RawConnection(server.address, encrypts: true)
            try reader.write("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in 0..<6_000 where streams.count == 0 { SystemClock.pause(milliseconds: 10) }
            // The only thread is free.
            #expect(try RawClient(server).send("GET", "/api/v1/identity", as: .nobody).status == 200)
            let second = try RawConnection(server.address, encrypts: true)
            try second.write("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(second.read(seconds: 60) { $0.contains("\r\n\r\n") }.text.hasPrefix("HTTP/1.1 429"))
            // What there is comes before the rest is made.
            let first = reader.read(seconds: 60) { $0.contains("begun\n") }.text
            #expect(first.contains("begun\n") && !first.contains("ended\n"))
            gate.open()
            // A line of the head may end in a zero as well.
            let all = reader.read(seconds: 60) { $0.hasSuffix("ended\n\r\n0\r\n\r\n") }.text
            #expect(all.hasSuffix("ended\n\r\n0\r\n\r\n"))
            for _ in 0..<6_000 where streams.count > 0 { SystemClock.pause(milliseconds: 10) }
            #expect(streams.count == 0)
        }
    }

    @Test("who does not read gets a few pieces, and who goes away ends it")
    func unread() async throws {
        let streams = Turnstile(maximum: 2, ofHolder: 1)
        let made = Mutex(0)
        let server = try await ServerFixture.start {
            $0.pages = [
                Self.page(streams) { write in
                    let piece = [UInt8](repeating: 7, count: 64 << 10)
                    while true {
                        try piece.withUnsafeBytes(write)
                        made.withLock { $0 += piece.count }
                    }
                }
            ]
        }
        try await ServerFixture.blocking {
            do {
                let reader = try RawConnection(server.address, encrypts: true)
                try reader.write("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
                for _ in 0..<6_000 where made.withLock({ $0 }) == 0 { SystemClock.pause(milliseconds: 10) }
                #expect(made.withLock { $0 } > 0)
            }
            for _ in 0..<9_000 where streams.count > 0 { SystemClock.pause(milliseconds: 10) }
            #expect(streams.count == 0)
        }
    }

    @Test(
        "pieces come in their order, then the end or what went wrong, whoever of the two is faster", arguments: 0..<20)
    func pieces(round: Int) async throws {
        let pieces = StreamedPieces(ahead: 3)
        let fails = round % 2 == 1
        let thread = try WorkerThread(name: "pieces") {
            for number in 0..<200 { try? pieces.push([UInt8(number)]) }
            pieces.end(fails ? .failure(HoldfastError(.damaged, "no")) : .success(()))
        }
        var seen: [UInt8] = []
        do {
            while let piece = try await pieces.next() { seen += piece }
            #expect(!fails)
        } catch { #expect(fails && (error as? HoldfastError)?.code == .damaged) }
        #expect(seen == (0..<200).map { UInt8($0) })
        thread.join()
        #expect(throws: (any Error).self) {
            pieces.giveUp()
            try pieces.push([1])
        }
    }

    @Test("a task that is cancelled waits no longer")
    func cancelled() async throws {
        let pieces = StreamedPieces(ahead: 1)
        let task = Task { try await pieces.next() }
        task.cancel()
        await #expect(throws: (any Error).self) { _ = try await task.value }
    }
}
