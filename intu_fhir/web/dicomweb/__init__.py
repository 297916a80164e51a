"""DICOMweb (PS3.18), the read side: search by QIDO-RS, retrieve by WADO-RS."""
