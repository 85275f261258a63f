# The image of a grand-challenge.org algorithm: reads /input, writes /output, needs no network and no root.
#     docker build -t spine .                          one process a case (exec)
#     docker build -t spine --build-arg API=invoke .   HTTP server on port 4743 (invoke)
#     docker build -t spine --build-arg REQUIREMENTS=requirements-gpu.txt .     for an NVIDIA GPU; never tried on one
# BASE may carry a digest. Classic builder's syntax only, so that every engine builds it.
ARG BASE=python:3.11-slim-bookworm
ARG API=exec


FROM ${BASE} AS packages
ARG REQUIREMENTS=requirements.hashes.txt
COPY requirements.txt ${REQUIREMENTS} /build/
RUN cd /build && pip install --no-deps --no-compile --no-cache-dir --no-warn-script-location --root-user-action ignore \
        --disable-pip-version-check --prefix /packages -r ${REQUIREMENTS}
# What inference never opens: OpenVINO for devices and file formats other than CPU, ONNX and its own; headers; tests;
# pydicom's example files.
RUN cd /packages/lib/python3.*/site-packages \
    && rm -rf openvino/include openvino/cmake openvino/tools openvino/torch \
        openvino/frontend/jax openvino/frontend/paddle openvino/frontend/pytorch openvino/frontend/tensorflow \
    && cd openvino/libs \
    && rm -f cache.json tbb.pc libopenvino_c.so.* libtbbmalloc_proxy.so.* \
        libopenvino_intel_gpu_plugin.so libopenvino_intel_npu_plugin.so libopenvino_auto_plugin.so \
        libopenvino_auto_batch_plugin.so libopenvino_hetero_plugin.so \
        libopenvino_gguf_frontend.so.* libopenvino_jax_frontend.so.* libopenvino_paddle_frontend.so.* \
        libopenvino_pytorch_frontend.so.* libopenvino_tensorflow*_frontend.so.* \
    && cd ../.. \
    && rm -rf /packages/bin /packages/share pydicom/data/test_files pydicom/data/charset_files \
    && find . -depth -type d -name tests -exec rm -rf {} + \
    && find . -type f \( -name '*.pyi' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.h' -o -name '*.a' \) -delete
# Byte code now, as the user of the image cannot write it; never checked against the source, as neither will change.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash -s /packages -p /usr/local /packages


FROM ${BASE} AS application
COPY model /opt/app/model
COPY resources /opt/app/resources
COPY spine /opt/app/spine
COPY process.py LICENSE /opt/app/
# Readable by the image's user whatever the umask of the checkout.
RUN chmod -R a+rX /opt/app && python -m compileall -q --invalidation-mode unchecked-hash /opt/app


FROM ${BASE} AS runtime
# Nothing is installed from here on: installers would only add what a vulnerability check finds.
RUN python -m pip uninstall --yes --root-user-action ignore --disable-pip-version-check setuptools wheel pip
COPY --from=packages /packages /usr/local
# Byte code of the standard library's modules that are used; the official base has none.
RUN python -W ignore -c "import openvino, SimpleITK, cc3d, jsonschema, tqdm, reportlab.pdfgen.canvas, scipy.stats, \
    http.server, argparse, logging, multiprocessing, tempfile, zipfile, gzip, xml.sax.saxutils"
COPY --from=application /opt/app /opt/app
ENV HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/app
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "/opt/app/process.py"]


FROM runtime AS exec
LABEL org.grand-challenge.api-method="exec"


FROM runtime AS invoke
LABEL org.grand-challenge.api-method="invoke"
EXPOSE 4743
CMD ["--serve"]


FROM ${API}
