// Two CUDA devices without memory or kernels: what torch asks of a device beside them, so that autograd, generators and
// mixed precision run under FakeTensorMode. It goes before torch's own where torch has been built with CUDA.
#include <ATen/EmptyTensor.h>
#include <ATen/core/Generator.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/GeneratorImpl.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <memory>

using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::Stream;

namespace {

constexpr DeviceIndex kCount = 2;
thread_local DeviceIndex current = 0;

Device device_of(DeviceIndex index) {
  return Device(DeviceType::CUDA, index < 0 ? current : index);
}

struct FakeGenerator : public c10::GeneratorImpl {
  uint64_t seed_ = 0, offset_ = 0;
  explicit FakeGenerator(DeviceIndex index)
      : GeneratorImpl(device_of(index), c10::DispatchKeySet(c10::DispatchKey::CUDA)) {}
  void set_current_seed(uint64_t seed) override { seed_ = seed, offset_ = 0; }
  void set_offset(uint64_t offset) override { offset_ = offset; }
  uint64_t get_offset() const override { return offset_; }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override { return seed_; }
  void set_state(const c10::TensorImpl&) override {}
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return at::detail::empty_cpu({16}, at::kByte).getIntrusivePtr(); }
  FakeGenerator* clone_impl() const override {
    auto* copy = new FakeGenerator(device_.index());
    copy->seed_ = seed_, copy->offset_ = offset_;
    return copy;
  }
};

struct FakeHooks : public at::CUDAHooksInterface {
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasCuDNN() const override { return true; }
  bool compiledWithCuDNN() const override { return true; }
  long versionCuDNN() const override { return 91000; }
  long versionRuntimeCuDNN() const override { return 91000; }
  bool supportsDilatedConvolutionWithCuDNN() const override { return true; }
  bool supportsDepthwiseConvolutionWithCuDNN() const override { return true; }
  bool supportsBFloat16ConvolutionWithCuDNNv8() const override { return true; }
  double batchnormMinEpsilonCuDNN() const override { return 1e-5; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return kCount; }
  int getNumGPUs() const override { return kCount; }
  DeviceIndex getCurrentDevice() const override { return current; }
  DeviceIndex current_device() const override { return current; }
  const at::Generator& getDefaultGenerator(DeviceIndex index) const override {
    static at::Generator generators[kCount] = {at::make_generator<FakeGenerator>(DeviceIndex(0)),
                                               at::make_generator<FakeGenerator>(DeviceIndex(1))};
    return generators[device_of(index).index()];
  }
  at::Generator getNewGenerator(DeviceIndex index) const override { return at::make_generator<FakeGenerator>(index); }
};

struct FakeGuard : public c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {
  static Stream stream_of(Device device) { return Stream(Stream::DEFAULT, device_of(device.index())); }
  DeviceIndex deviceCount() const noexcept override { return kCount; }
  Device getDevice() const override { return device_of(current); }
  Device exchangeDevice(Device device) const override {
    const Device before = getDevice();
    setDevice(device);
    return before;
  }
  void setDevice(Device device) const override {
    TORCH_CHECK(device.index() < kCount, "invalid device ordinal");
    current = device_of(device.index()).index();
  }
  void uncheckedSetDevice(Device device) const noexcept override { current = device_of(device.index()).index(); }
  Stream getStream(Device device) const noexcept override { return stream_of(device); }
  Stream exchangeStream(Stream stream) const noexcept override { return stream_of(stream.device()); }
  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
};

FakeGuard guard;

}  // namespace

namespace at {
C10_REGISTER_TYPED_CREATOR_WITH_PRIORITY(  // torch looks the hooks up by this name
    CUDAHooksRegistry, "CUDAHooks", c10::REGISTRY_PREFERRED,
    [](CUDAHooksArgs) -> std::unique_ptr<CUDAHooksInterface> { return std::make_unique<FakeHooks>(); });
}  // namespace at

extern "C" void install_guard() { c10::impl::registerDeviceGuard(DeviceType::CUDA, &guard); }
extern "C" int current_device() { return current; }
extern "C" int exchange_device(int index) {
  const int before = current;
  current = device_of(static_cast<DeviceIndex>(index)).index();
  return before;
}
