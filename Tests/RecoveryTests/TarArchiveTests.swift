import Foundation
import Model
import Platform
import TestSupport
import Testing
import Vault

@testable import Recovery

@Suite("Archives in tar format", .serialized)
struct TarArchiveTests {
    /// Makes an archive of the protected directory and has GNU tar take it out again.
    ///
    /// - Returns: where, and what tar said.
    private func extract(_ fixture: RestoreFixture, _ reader: PointReader) throws -> (place: String, said: String) {
        let file = fixture.place("archive.tar.zst")
        let parent = fixture.path.parent ?? .root
        var bytes: [UInt8] = []
        try PointArchive(reader: reader, base: parent, zone: .utc).write([fixture.path], as: .tarZstd) {
            bytes += Array($0)
        }
        try RestoreFixture.write(file, bytes)
        let place = fixture.place("extracted")
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        let said = try RestoreFixture.shell(
            "zstd -q --test '\(file)'; tar --numeric-owner --xattrs --xattrs-include='*' --acls -p --warning=no-timestamp --zstd -xf '\(file)' -C '\(place)' 2>&1"
        )
        return (place + "/source", said)
    }

    @Test(
        "GNU tar takes out what an independent tool finds equal: links, devices, holes, attributes, lists, exact times",
        .enabled(if: RestoreFixture.isRoot))
    func roundTrip() throws {
        let fixture = try RestoreFixture()
        let deep = (0..<20).map { "a-name-that-is-not-short-at-all-\($0)" }.joined(separator: "/")
        try fixture.make(
            """
            mkdir -p plain '\(deep)' empty; echo text > plain/file; : > plain/nothing; printf 'x' > '\(deep)/file'
            head -c 1000 /dev/urandom > "plain/$(printf 'n\\xff\\xfe')"; echo ü > plain/größe; echo n > "plain/$(printf 'new\\nline')"
            ln -s plain/file link; ln -s '\(deep)/\(deep)' long-link; ln -s "$(printf 'to\\xff')" odd-link
            ln plain/file plain/second; ln plain/file third; mkfifo pipe; mknod device c 1 3; mknod block b 7 200
            truncate -s 3M holes; printf 'middle' | dd of=holes bs=1 seek=1048576 conv=notrunc status=none
            truncate -s 5M only-hole; truncate -s 40M many; for i in 1 5 9 30; do printf "d$i" | dd of=many bs=1M seek=$i conv=notrunc status=none; done
            printf 'end' | dd of=tail bs=1 seek=2000000 status=none
            head -c 300000 /dev/urandom > big; setfattr -n user.note -v 'a value' plain/file; setfattr -n user.empty plain/nothing
            setfattr -n user.binary -v 0x000a3d00ff plain/file; setfattr -n user.dir -v d empty
            setfacl -m u:1000:rw,g:50:r plain/nothing; setfacl -d -m u:1000:rwx empty
            chown 1000:50 plain/nothing; chown -h 3000000:3000001 odd-link; chown 4294967000:7 big; chmod 4750 plain/file; chmod 1777 empty
            touch -d '1960-05-06 07:08:09.25' plain/nothing; touch -d '2026-01-02 03:04:05.123456789' big; touch -d '2500-01-01' tail
            touch -d '2001-02-03 04:05:06.7' empty; touch -h -d '2002-03-04 05:06:07.000000001' link
            python3 -c "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind('socket')"
            """)
        let reader = try fixture.backup()
        let (place, said) = try extract(fixture, reader)
        #expect(said == "", "\(said)")
        // A socket is said to be missing, at the top of the archive.
        let report = try RestoreFixture.read(fixture.place("extracted") + "/NOT IN THIS ARCHIVE.txt")
        #expect(String(decoding: report, as: UTF8.self).contains("/socket: a socket"))
        try fixture.make("rm socket; touch -d '2020-01-01' .")
        try RestoreFixture.shell("touch -d '2020-01-01' '\(place)'")
        let different = try fixture.differences(place)
        #expect(different == "", "\(different)")
        // Holes are holes again.
        let blocks = try RestoreFixture.shell(
            "stat -c '%n %b' '\(place)/many' '\(place)/only-hole'; stat -c %i '\(place)/plain/file' '\(place)/third' | uniq | wc -l"
        )
        let lines = blocks.split(separator: "\n").map(String.init)
        #expect(lines[0].split(separator: " ").last.flatMap { Int($0) }.map { $0 < 2_000 } == true, "\(blocks)")
        #expect(lines[1].hasSuffix(" 0") && lines[2] == "1", "\(blocks)")
    }

    @Test("another reader, Python's, finds names, owners and times as well")
    func python() throws {
        let fixture = try RestoreFixture()
        try fixture.make("mkdir d; echo text > d/f; TZ=UTC touch -d '2026-01-02 03:04:05.5' d/f; ln -s f d/l")
        let reader = try fixture.backup()
        var bytes: [UInt8] = []
        try PointArchive(reader: reader, base: fixture.path, zone: .utc).write([fixture.path], as: .tarZstd) {
            bytes += Array($0)
        }
        let file = fixture.place("a.tar.zst")
        try RestoreFixture.write(file, bytes)
        let listed = try RestoreFixture.shell(
            "zstd -dq '\(file)' -o '\(file).tar'; python3 -c \"import tarfile,sys\nfor m in tarfile.open(sys.argv[1]): print(m.name, m.mtime, m.linkname, m.size)\" '\(file).tar'"
        )
        #expect(listed.contains("d/f 1767323045.5  5"), "\(listed)")
        #expect(listed.contains("d/l") && listed.contains(" f 0"))
    }

    @Test("a record counts its own length, and times before 1970 are counted down")
    func records() {
        #expect(TarWriter.record("path", Array("x".utf8)) == Array("9 path=x\n".utf8) + [])
        for count in [1, 80, 90, 91, 92, 93, 980, 989, 990, 991, 9_980, 9_990, 70_000] {
            let record = TarWriter.record("key", [UInt8](repeating: 0x61, count: count))
            let digits = record.prefix { $0 != 0x20 }
            #expect(String(decoding: digits, as: UTF8.self) == "\(record.count)", "\(count)")
        }
        #expect(TarWriter.text(FileTime(seconds: -2, nanoseconds: 500_000_000)) == "-1.5")
        #expect(TarWriter.text(FileTime(seconds: -1, nanoseconds: 999_999_999)) == "-0.000000001")
        #expect(TarWriter.text(FileTime(seconds: -3, nanoseconds: 0)) == "-3")
        #expect(TarWriter.text(FileTime(seconds: 5, nanoseconds: 120)) == "5.00000012")
    }

    @Test("a file of 9 GiB has its size in a record, and nothing of it has to be in memory")
    func large() throws {
        var writer = TarWriter()
        var head: [UInt8] = []
        var total: UInt64 = 0
        let size: UInt64 = 9 << 30
        let entry = Entry(kind: .regular, mode: 0o600, size: size)
        let block = [UInt8](repeating: 7, count: 16 << 20)
        try writer.addFile(
            TarWriter.Member(name: Array("big".utf8), entry, attributes: []), size: size,
            to: { bytes in
                if head.count < 2_048 { head += Array(bytes.prefix(2_048)) }
                total += UInt64(bytes.count)
            }
        ) { write in
            for _ in 0..<(size / UInt64(block.count)) { try block.withUnsafeBytes { try write($0) } }
        }
        #expect(total == size + 3 * 512)
        #expect(String(decoding: head.prefix(1_024), as: UTF8.self).contains("size=\(size)\n"))
    }

    @Test("a file that is not as long as its entry says ends the archive")
    func wrongLength() throws {
        var writer = TarWriter()
        let member = TarWriter.Member(name: [0x61], Entry(kind: .regular, mode: 0o600, size: 5), attributes: [])
        #expect(throws: HoldfastError.self) {
            try writer.addFile(member, size: 5, to: { _ in }) { write in
                try [UInt8(1)].withUnsafeBytes { try write($0) }
            }
        }
        #expect(throws: HoldfastError.self) {
            try writer.addFile(member, size: 1, to: { _ in }) { write in
                try [UInt8](repeating: 1, count: 9).withUnsafeBytes { try write($0) }
            }
        }
    }
}
