import Catalog
import Model
import Platform
import Synchronization
import TestSupport
import Testing
import Vault

@testable import Mounting

@Suite("Opened blobs of a mounted vault in memory")
struct BlobCacheTests {
    private func key(_ number: UInt64, checked: Bool = true) -> BlobKey {
        BlobKey(
            key: ContentKey(Bytes32(w0: number, w1: 0, w2: 0, w3: 0)), type: .data, machine: MachineID(high: 1, low: 1),
            isChecked: checked)
    }

    private func blob(_ count: Int) -> Blob {
        [UInt8](repeating: 7, count: count).withUnsafeBytes { Blob(copying: $0) }
    }

    @Test("of many who want a blob one fetches it, and all get it")
    func once() throws {
        let cache = BlobCache(limit: 1 << 20)
        let fetched = Atomic<Int>(0)
        let sizes = Mutex<[Int]>([])
        try runThreads(8, name: "wants") { _ in
            if let mine = cache.claim([self.key(1)]).first {
                fetched.wrappingAdd(1, ordering: .relaxed)
                SystemClock.pause(milliseconds: 20)
                cache.fill(mine, self.blob(100))
            }
            let found = try cache.wait(self.key(1))
            sizes.withLock { $0.append(found?.bytes.count ?? -1) }
        }
        #expect(fetched.load(ordering: .relaxed) == 1)
        #expect(sizes.withLock { $0 } == Array(repeating: 100, count: 8))
    }

    @Test("a failure reaches who waits, and is forgotten by who comes later")
    func failure() throws {
        let cache = BlobCache(limit: 1 << 20)
        #expect(cache.claim([key(1), key(2)]).count == 2)
        #expect(cache.claim([key(1)]).isEmpty)
        let outcome = Mutex<String>("")
        let thread = try WorkerThread(name: "waits") {
            do { _ = try cache.wait(self.key(1)) } catch {
                outcome.withLock { $0 = (error as? HoldfastError)?.code.description ?? "other" }
            }
        }
        SystemClock.pause(milliseconds: 30)
        cache.fail([key(1)], HoldfastError(.damaged, "lost"))
        thread.join()
        #expect(outcome.withLock { $0 } == "damaged")
        #expect(try cache.wait(key(1)) == nil)
        #expect(cache.claim([key(1), key(2)]) == [key(1)])
    }

    @Test("a claim that is given up is no error for who waits: they fetch it themselves")
    func release() throws {
        let cache = BlobCache(limit: 1 << 20)
        // Who comes is sometimes there before it is given up and sometimes after, and gets the blob either way.
        for round in 0..<100 {
            let wanted = key(UInt64(round))
            #expect(cache.claim([wanted]) == [wanted])
            let isThere = Atomic<Bool>(false)
            let outcome = Mutex<String>("")
            let thread = try WorkerThread(name: "waits") {
                isThere.store(true, ordering: .releasing)
                do {
                    while true {
                        for mine in cache.claim([wanted]) { cache.fill(mine, self.blob(round)) }
                        guard let found = try cache.wait(wanted) else { continue }
                        return outcome.withLock { $0 = "\(found.bytes.count)" }
                    }
                } catch { outcome.withLock { $0 = "\(error)" } }
            }
            while !isThere.load(ordering: .acquiring) { SystemClock.pause(milliseconds: 1) }
            cache.release([wanted])
            thread.join()
            #expect(outcome.withLock { $0 } == "\(round)")
        }
    }

    @Test("what nobody has room to read ahead is read by who wants it, without an error")
    func tooMuchAhead() throws {
        let fixture = try VaultFixture()
        let service = try fixture.open { $0.access = .change }
        let joined = try fixture.join(service)
        let writer = try TestWriter(service, joined)
        let id = try writer.backup([.file("/f", "some text")], time: Timestamp(seconds: 1_700_010_000))
        writer.close()
        let place = PointPlace(id: id, machine: joined.id, title: "", time: Timestamp(seconds: 0))
        let point = OpenPoint(
            place, try PointReader(service: service, keys: fixture.keys, point: id, cacheBytes: 0),
            cache: BlobCache(limit: 1 << 20), bin: ReaderBin())
        let path = try #require(TreePath("/f"))
        let entry = try #require(try point.entry(of: path))
        guard case .extents(let extents) = entry.content, let wanted = extents.first?.key else {
            Issue.record("the file has no contents")
            return
        }
        let claimed = point.claim([wanted])
        #expect(claimed.count == 1)
        let outcome = Mutex<String>("")
        let thread = try WorkerThread(name: "reads") {
            do {
                let count = try point.blob(wanted, type: .data).bytes.count
                outcome.withLock { $0 = count > 0 ? "read" : "empty" }
            } catch { outcome.withLock { $0 = "\(error)" } }
        }
        point.drop(claimed)
        thread.join()
        #expect(outcome.withLock { $0 } == "read")
    }

    @Test("memory is bounded, and what was used last stays")
    func bound() {
        let cache = BlobCache(limit: 1 << 20)
        for number in 0..<100 {
            for mine in cache.claim([key(UInt64(number))]) { cache.fill(mine, blob(64 << 10)) }
            _ = cache.find(key(0))
        }
        let kept = (0..<100).count { cache.find(key(UInt64($0))) != nil }
        #expect(kept >= 8 && kept <= 16, "\(kept)")
        #expect(cache.find(key(0)) != nil && cache.find(key(99)) != nil && cache.find(key(50)) == nil)
    }

    @Test("a blob that nobody could check is not given to a reader who checks")
    func checked() {
        let cache = BlobCache(limit: 1 << 20)
        for mine in cache.claim([key(1, checked: false)]) { cache.fill(mine, blob(10)) }
        #expect(cache.find(key(1, checked: false)) != nil && cache.find(key(1)) == nil)
    }
}

@Suite("Numbers of nodes of a mounted vault")
struct NodeTableTests {
    @Test("a node has one number as long as the kernel knows it, and is forgotten after as often as it was told")
    func counts() throws {
        let table = NodeTable()
        let place = PointPlace(
            id: .random(), machine: MachineID(high: 1, low: 1), title: "m/p", time: Timestamp(seconds: 0))
        let path = try #require(TreePath("/etc/fstab"))
        let first = table.remember(.entry(place, path))
        #expect(table.remember(.entry(place, path)) == first)
        #expect(table.remember(.entry(place, .root)) != first)
        #expect(table.remember(.root) == NodeTable.root && table.node(NodeTable.root) == .root)
        table.forget(first, 1)
        #expect(table.node(first) == .entry(place, path))
        table.forget(first, 1)
        #expect(table.node(first) == nil && table.count == 1)
        table.forget(first, 5)
    }

    @Test("names of a hard-linked file share a number in a point, and none between points")
    func links() {
        let machine = MachineID(high: 1, low: 1)
        let a = PointPlace(id: .random(), machine: machine, title: "", time: Timestamp(seconds: 0))
        let b = PointPlace(id: .random(), machine: machine, title: "", time: Timestamp(seconds: 0))
        let group = LinkGroup(device: 1, inode: 2)
        #expect(NodeTable.number(group, in: a) == NodeTable.number(group, in: a))
        #expect(NodeTable.number(group, in: a) != NodeTable.number(group, in: b))
    }
}
